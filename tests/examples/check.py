"""Holds the examples against what their READMEs promise: check.py WHEEL [NAME…]"""

import http.client
import re
import sys

from support import ROOT, Example, blocks, check, equal, postgres

PASSWORD = "correct horse battery"


def django_site(site):
    """What the site does on any database."""
    for path in ("/api/me/", "/api/notes/", "/api/report/", "/nothing"):
        site.refuses_without_a_token(path)
    pair = site.log_in("anna", PASSWORD)
    token = pair["access"]
    equal(site.ask("POST", "/api/token/", form={"username": "anna", "password": "wrong"}).status, 401)
    equal(site.get("/api/me/", token).json(), {"username": "anna", "roles": []})
    note = site.ask("POST", "/api/notes/", token, json_body={"text": "h\u00e9llo"}).json(201)
    equal(note["text"], "h\u00e9llo")
    equal(site.get("/api/notes/", token).json(), [note])
    equal(site.ask("DELETE", f"/api/notes/{note['id']}/", token).status, 204)

    # A refresh token is good once, and opens nothing.
    equal(site.get("/api/me/", pair["refresh"]).status, 401)
    fresh = site.ask("POST", "/api/token/refresh/", form={"refresh": pair["refresh"]}).json()
    equal(site.get("/api/me/", fresh["access"]).status, 200)
    equal(site.ask("POST", "/api/token/blacklist/", form={"refresh": fresh["refresh"]}).json(), {})
    equal(site.ask("POST", "/api/token/refresh/", form={"refresh": fresh["refresh"]}).status, 401)

    # Groups are roles, in the next token.
    equal(site.get("/api/report/", token).json(403)["code"], "permission_denied")
    manage(site, "from django.contrib.auth.models import *; Group.objects.create(name='editors').user_set.add(User.objects.get())")
    token = site.log_in("anna", PASSWORD)["access"]
    equal(site.get("/api/report/", token).json(), [])
    equal(site.get("/api/me/", token).json()["roles"], ["editors"])

    django_admin(site)
    site.reloads("mysite/urls.py", "admin.site.urls", "admin.site.ulrs")
    equal(site.get("/api/me/", token).status, 200)

    # A token is still good when its user is not: Django knows.
    manage(site, "from django.contrib.auth.models import *; User.objects.update(is_active=False)")
    refused = site.get("/api/me/", token)
    equal(refused.json(401), {"detail": "User is inactive", "code": "user_inactive"})
    equal(refused.headers["WWW-Authenticate"], 'Bearer realm="api"')
    equal(site.ask("POST", "/api/token/", form={"username": "anna", "password": PASSWORD}).status, 401)


def django_admin(site):
    sent_on = site.get("/admin/")
    equal((sent_on.status, sent_on.headers["Location"]), (302, "/admin/login/?next=/admin/"))
    page = site.get("/admin/login/")
    equal(page.status, 200)
    styles = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.text)
    check(len(styles) >= 3, page.text)
    for style in styles:
        css = site.get(style)
        equal((css.status, css.headers["Content-Type"].split(";")[0]), (200, "text/css"))
        equal(css.headers["Cache-Control"], "public, max-age=3600")
        check("{" in css.text, style)
    equal(site.get("/static/admin/none.css").status, 404)
    secret = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    cookie = page.headers["Set-Cookie"].split(";")[0]
    form = {"username": "anna", "password": PASSWORD, "csrfmiddlewaretoken": secret, "next": "/admin/"}
    entered = site.ask("POST", "/admin/login/", form=form, headers={"Cookie": cookie})
    equal((entered.status, entered.headers["Location"]), (302, "/admin/"))
    cookies = [each.split(";")[0] for each in entered.headers.get_all("Set-Cookie")]
    page = site.get("/admin/", headers={"Cookie": "; ".join(cookies)})
    check(page.status == 200 and "Site administration" in page.text and "/admin/notes/note/add/" in page.text, page.text)


def manage(site, statement):
    """In the environment that the README has made."""
    site.run("bash", "-c", '. ./.exported; exec .venv/bin/python manage.py shell -c "$0"', statement)


def django(wheel):
    site = Example("django", wheel)
    with site.serving():
        django_site(site)
    with postgres() as folder:
        site.replace("/run/postgresql", folder)
        with site.serving(block=1):
            django_site(site)


def five_minutes(wheel):
    """A site that `startproject` has made goes the way of the first section of the README."""
    site = Example("five-minutes", wheel, is_empty=True)
    setup = "python3 -m venv .venv; .venv/bin/pip install django~=5.2.0; .venv/bin/django-admin startproject mysite ."
    site.run("bash", "-euc", setup + "; .venv/bin/python manage.py migrate")
    readme, heading = ROOT / "README.md", "## From `runserver` to production in five minutes\n"
    first, second = blocks(readme, "shell", heading)
    with site.after(first):
        page = site.get("/")
        check(page.status == 200 and "The install worked successfully" in page.text, page.text)
    with open(site.folder / "mysite/settings.py", "a") as settings:
        settings.write('DEBUG = False\nALLOWED_HOSTS = ["127.0.0.1"]\nSTATIC_ROOT = BASE_DIR / "static"\n')
    (configuration,) = blocks(readme, "toml", heading)
    (site.folder / "destrier.toml").write_text(configuration)
    with site.after(second):
        equal(site.get("/").status, 404)
        page = site.get("/admin/login/")
        equal(page.status, 200)
        equal(site.get(re.search(r'<link rel="stylesheet" href="([^"]+)"', page.text)[1]).status, 200)
        site.reloads("mysite/wsgi.py", "get_wsgi_application()", "get_no_application()")


def small(name, wheel, more=lambda site, token: None):
    """Flask and FastAPI: the same little application."""
    site = Example(name, wheel)
    with site.serving():
        site.refuses_without_a_token("/me")
        site.refuses_without_a_token("/nothing")
        equal(site.get("/").json(), {"message": "hello"})
        anna, bert = (site.log_in(user, PASSWORD)["access"] for user in ("anna", "bert"))
        equal(site.get("/", anna).json(), {"message": "hello, Anna"})
        equal(site.get("/me", anna).json(), {"name": "Anna", "roles": ["editor"]})
        equal(site.get("/report", anna).json(), {"visitors": 42})
        equal(site.get("/report", bert).json(403)["code"], "permission_denied")
        more(site, anna)
        site.reloads("app.py", "import destrier", "import destrierr")
        equal(site.get("/me", bert).json(), {"name": "Bert", "roles": ["reader"]})


def flask(wheel):
    small("flask", wheel)


def fastapi(wheel):
    small("fastapi", wheel, chat)


def chat(site, token):
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    equal(site.get("/chat", headers=headers).status, 401)
    connection = http.client.HTTPConnection(site.address, timeout=30)
    connection.request("GET", "/chat", headers={**headers, "Sec-WebSocket-Protocol": f"bearer, {token}"})
    response = connection.sock.makefile("rb")
    head = list(iter(response.readline, b"\r\n"))
    equal(head[0].split()[1], b"101")
    check(b"sec-websocket-protocol: bearer\r\n" in [line.lower() for line in head], head)
    # A whole text, not masked, of so many bytes.
    greeting = b"hello, Anna"
    equal(response.read(2 + len(greeting)), bytes([0x81, len(greeting)]) + greeting)
    connection.close()


EXAMPLES = {"five-minutes": five_minutes, "django": django, "flask": flask, "fastapi": fastapi}
wheel, *names = sys.argv[1:]
for name in names or EXAMPLES:
    EXAMPLES[name](wheel)
    print(f"{name}: set up as its README says, and as it should be", flush=True)
