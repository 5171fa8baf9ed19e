"""A Django project of one file with SimpleJWT: `project.py FOLDER init`, `project.py FOLDER serve PORT`; `show` tells what is in the
database, `hash` makes the hashes of users again, which a login at Django replaces, `blacklist JTI` blacklists a token that is noted.

FOLDER holds `secret`, the shared HS256 secret, and gets the database; POSTGRES=FOLDER is that of a PostgreSQL socket in its place.
ROTATE=1 turns rotation and blacklisting on, BLACKLIST=0 leaves the application out, HASHERS=1 makes a user for every kind of hash, SLIDING=1
has the views of sliding tokens.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

FOLDER = Path(sys.argv[1])
ROTATE = os.environ.get("ROTATE") == "1"
BLACKLIST = os.environ.get("BLACKLIST") != "0"
POSTGRES = os.environ.get("POSTGRES")
HASHERS = ["PBKDF2", "PBKDF2SHA1", "Argon2", "BCryptSHA256", "BCrypt", "Scrypt", "MD5"] if os.environ.get("HASHERS") == "1" else ["MD5"]
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
        *(["rest_framework_simplejwt.token_blacklist"] if BLACKLIST else []),
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    PASSWORD_HASHERS=[f"django.contrib.auth.hashers.{name}PasswordHasher" for name in HASHERS],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": POSTGRES,
            "USER": "destrier",
            "NAME": "site",
        } if POSTGRES else {
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
    from django.contrib.auth.models import Group, User

    call_command("migrate", verbosity=0)
    User.objects.create_user("alice", password="correct horse")
    User.objects.create_user("gone", password="correct horse", is_active=False)
    User.objects.create_user("unusable")
    groups = [Group.objects.create(name=name) for name in ("staff", "editors", "unused")]
    for user in hash_anew():
        user.groups.set(groups[:2])


def hash_anew():
    """A user for each kind of hash, named after it."""
    from django.contrib.auth.hashers import get_hashers, make_password
    from django.contrib.auth.models import User

    for hasher in get_hashers():
        password = make_password("correct horse", hasher=hasher.algorithm)
        yield User.objects.update_or_create(username=hasher.algorithm, defaults={"password": password})[0]


def show():
    """What Django reads in its tables, as JSON."""
    import json

    from django.contrib.auth.models import User

    shown = {"users": list(User.objects.values("id", "username", "password", "last_login"))}
    if BLACKLIST:
        from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

        shown["tokens"] = list(OutstandingToken.objects.values(
            "jti", "token", "user_id", "created_at", "expires_at", "blacklistedtoken__blacklisted_at"))
        call_command("flushexpiredtokens", verbosity=0)
    print(json.dumps(shown, default=lambda date: date.timestamp()))


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
elif sys.argv[2] == "show":
    show()
elif sys.argv[2] == "hash":
    list(hash_anew())
elif sys.argv[2] == "blacklist":
    from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

    BlacklistedToken.objects.create(token=OutstandingToken.objects.get(jti=sys.argv[3]))
else:
    serve(int(sys.argv[3]))
