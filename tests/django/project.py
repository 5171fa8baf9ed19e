"""A Django project of one file with SimpleJWT, for tests/differential.rs: `project.py FOLDER init`, `project.py FOLDER serve PORT`.

FOLDER holds `secret`, the shared HS256 secret, and gets the database. ROTATE=1 turns rotation and blacklisting on, SLIDING=1 has
the views of sliding tokens.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

FOLDER = Path(sys.argv[1])
ROTATE = os.environ.get("ROTATE") == "1"
SLIDING = os.environ.get("SLIDING") == "1"
CLASS = "SlidingToken" if SLIDING else "AccessToken"

import django
from django.conf import settings

settings.configure(
    DEBUG=False,
    SECRET_KEY=(FOLDER / "secret").read_text(),
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="__main__",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "rest_framework_simplejwt",
        "rest_framework_simplejwt.token_blacklist",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "django.db",
        }
    },
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "rest_framework_simplejwt.authentication.JWTAuthentication"
        ],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    },
    SIMPLE_JWT={
        "ROTATE_REFRESH_TOKENS": ROTATE,
        "BLACKLIST_AFTER_ROTATION": ROTATE,
        "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
        "AUTH_TOKEN_CLASSES": ("rest_framework_simplejwt.tokens." + CLASS,),
    },
)
django.setup()

from django.core.management import call_command
from django.urls import path
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt import views


class Me(APIView):
    def get(self, request):
        return Response({"subject": request.user.pk})


OBTAIN = views.TokenObtainSlidingView if SLIDING else views.TokenObtainPairView
REFRESH = views.TokenRefreshSlidingView if SLIDING else views.TokenRefreshView

urlpatterns = [
    path("api/token/", OBTAIN.as_view()),
    path("api/token/refresh/", REFRESH.as_view()),
    path("api/token/verify/", views.TokenVerifyView.as_view()),
    path("api/token/blacklist/", views.TokenBlacklistView.as_view()),
    path("me", Me.as_view()),
]


def init():
    from django.contrib.auth.models import User

    call_command("migrate", verbosity=0)
    User.objects.create_user("alice", password="correct horse")
    User.objects.create_user("gone", password="correct horse", is_active=False)


def serve(port):
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    from django.core.wsgi import get_wsgi_application

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        def log_message(self, *_):
            pass

    server = make_server(
        "127.0.0.1", port, get_wsgi_application(), Server, Handler
    )
    print(server.server_port, flush=True)
    server.serve_forever()


if sys.argv[2] == "init":
    init()
else:
    serve(int(sys.argv[3]))
