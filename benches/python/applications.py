"""What is served, by every server alike. What an application needs is imported when it is asked for."""

import os

SECRET = "0123456789abcdef0123456789abcdef"


def respond(start_response, content):
    # With a length, as frameworks give one: without it uWSGI cannot keep the connection.
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
    return [content]


def hello(environ, start_response):
    return respond(start_response, b"Hello, world!")


def protected_by_the_edge(environ, start_response):
    return respond(start_response, b"Hello, %s!" % environ["destrier.claims"]["sub"].encode())


async def answer(send, content):
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def asgi_hello(scope, receive, send):
    assert scope["type"] == "http"
    await answer(send, b"Hello, world!")


async def asgi_protected_by_the_edge(scope, receive, send):
    assert scope["type"] == "http"
    await answer(send, b"Hello, %s!" % scope["state"]["claims"]["sub"].encode())


def make_protected():
    import jwt

    def protected(environ, start_response):
        token = environ["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], issuer="bench")
        return respond(start_response, b"Hello, %s!" % claims["sub"].encode())

    return protected


def make_asgi_protected():
    import jwt

    async def asgi_protected(scope, receive, send):
        assert scope["type"] == "http"
        token = dict(scope["headers"])[b"authorization"].decode().removeprefix("Bearer ")
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], issuer="bench")
        await answer(send, b"Hello, %s!" % claims["sub"].encode())

    return asgi_protected


def make_django():
    """A site as `django-admin startproject` makes it, with its admin; the view asks no database."""
    import django
    from django.conf import settings

    apps = ["admin", "auth", "contenttypes", "sessions", "messages", "staticfiles"]
    middleware = [
        "middleware.security.SecurityMiddleware",
        "contrib.sessions.middleware.SessionMiddleware",
        "middleware.common.CommonMiddleware",
        "middleware.csrf.CsrfViewMiddleware",
        "contrib.auth.middleware.AuthenticationMiddleware",
        "contrib.messages.middleware.MessageMiddleware",
        "middleware.clickjacking.XFrameOptionsMiddleware",
    ]
    templates = {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
    context = ["template.context_processors.request", "contrib.auth.context_processors.auth"]
    context.append("contrib.messages.context_processors.messages")
    settings.configure(
        SECRET_KEY="x" * 50,
        ROOT_URLCONF="django_urls",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib." + name for name in apps],
        MIDDLEWARE=["django." + name for name in middleware],
        TEMPLATES=[{**templates, "OPTIONS": {"context_processors": ["django." + name for name in context]}}],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.devnull}},
        STATIC_URL="static/",
    )
    django.setup()
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def make_flask():
    import flask

    app = flask.Flask(__name__)
    app.route("/")(lambda: "Hello, world!")
    return app


def make_starlette():
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def index(request):
        return PlainTextResponse("Hello, world!")

    return Starlette(routes=[Route("/", index)])


def make_fastapi():
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    app = FastAPI()

    @app.get("/", response_class=PlainTextResponse)
    async def index():
        return "Hello, world!"

    return app


def __getattr__(name):
    make = globals().get(f"make_{name}")
    if make is None:
        raise AttributeError(name)
    made = globals()[name] = make()
    return made
