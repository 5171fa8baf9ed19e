"""Sends the same requests to destrier and to Django with SimpleJWT, and compares status, headers and bodies: compare.py DESTRIER."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DESTRIER = sys.argv[1]
HERE = Path(__file__).parent
SECRET = "a secret of thirty-two octets!!!"
PASSWORD = "correct horse"
# Fields that both must have with the same value, or both not.
FIELDS = ["content-type", "allow", "www-authenticate", "x-frame-options", "x-content-type-options",
          "referrer-policy", "cross-origin-opener-policy"]
CONFIG = """
server.bind = "127.0.0.1:{port}"
workers.count = 2
process.control_socket = "control.sock"
[auth]
realm = "api"
[auth.tokens]
database = "sqlite:destrier.db"
kind = "{kind}"
rotate_refresh_tokens = {rotate}
blacklist_after_rotation = {rotate}
reuse_grace = "0s"
throttle_account = "off"
[[auth.issuer]]
secret_file = "secret"
[[auth.rule]]
path = "/**"
"""

failures = []


def part(value):
    text = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def sign(claims, header={"alg": "HS256", "typ": "JWT"}, secret=SECRET):
    signed = part(header) + "." + part(claims)
    digest = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}.get(header["alg"], hashlib.sha256)
    mac = hmac.new(secret.encode(), signed.encode(), digest).digest()
    return signed + "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def read(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


class Server:
    def __init__(self, name, port):
        self.name, self.port = name, port

    def ask(self, method, path, body=None, headers={}):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.putrequest(method, path, skip_accept_encoding=True)
        if isinstance(body, str):
            body = body.encode("utf-8", "surrogatepass")
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        text = response.read().decode()
        fields = {name: response.getheader(name) for name in FIELDS}
        return response.status, fields, text

    def post(self, path, value, **more):
        body = value if isinstance(value, (str, bytes)) else json.dumps(value)
        return self.ask("POST", "/api/token/" + path, body, {"Content-Type": "application/json"} | more)

    def login(self):
        status, _, body = self.post("", {"username": "alice", "password": PASSWORD})
        assert status == 200, (self.name, status, body)
        return json.loads(body)


def normal(body):
    """A body with what differs each time taken out of its tokens, all else as it is."""

    def token(found):
        header = found.group(0).split(".")[0]
        claims = read(found.group(0))
        for name in ("exp", "iat", "refresh_exp"):
            if not isinstance(claims.get(name), (int, float)):
                continue
            claims[name] -= int(time.time())
            # Two servers are not asked in the same second.
            claims[name] = round(claims[name] / 10)
        # One that was made by hand keeps its name where it slides.
        if re.fullmatch("[0-9a-f]{32}", claims["jti"]):
            claims["jti"] = "…"
        return header + json.dumps(claims)

    return re.sub(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", token, body)


def compare(what, destrier, django):
    ours = (destrier[0], destrier[1], normal(destrier[2]))
    theirs = (django[0], django[1], normal(django[2]))
    # What it fails at is to be refused.
    if ours == theirs or (theirs[0] == 500 and ours[0] == 401):
        return
    failures.append(what)
    print(f"--- {what}\ndestrier {ours}\ndjango   {theirs}")


def both(servers, what, ask):
    compare(what, *(ask(server) for server in servers))


def requests(servers, kind, rotates):
    destrier, django = servers
    count = 0

    def same(what, ask):
        nonlocal count
        count += 1
        both(servers, what, ask)

    # Bodies that are read or not.
    bodies = [
        "", "null", "[]", '"x"', "1", "1.5", "true", "{", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a" 1}', "{a:1}", "x", "{} x",
        '{"a":"b', '{"a":"\\x"}', "[1 2]", '{"a":truth}', '{"username":null,"password":true}', '{"username":"","password":"  "}',
        '{"username":[],"password":{}}', '{"username":"a\\u0000","password":"\\ud800x\\u0000"}', '{"username":12,"password":1.5}',
        '{"username":"nobody","password":"x"}', '{"username":"gone","password":"correct horse"}', '{"username":"alice","password":"wrong"}',
        '{"username":" alice ","password":" correct horse "}', '{"username":"x","username":"alice","password":"correct horse"}',
        '{"password":"x"}', b"\xef\xbb\xbf{}", b'{"a":"\xff"}', b'{"a":"\xc3"}', '{"a":\n\n "x\ny"}', '{"username":"\u00e9","password":"x"}',
        '{"refresh":"x"}', '{"refresh":""}', '{"refresh":7}', '{"token":"x"}', '{"token":null}', '{"token":"a.b.c"}',
    ]
    for path in ("", "refresh/", "verify/", "blacklist/"):
        for body in bodies:
            same(f"POST {path} {body!r}", lambda server: server.post(path, body))
        for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
            same(f"{method} {path}", lambda server: server.ask(method, "/api/token/" + path))
        for accept in ("text/html", "application/json", "application/*", "*/*", "text/html, application/json;q=0.1"):
            same(f"Accept {accept} {path}", lambda server: server.post(path, "{}", Accept=accept))
        same(f"format xml {path}", lambda server: server.ask("GET", f"/api/token/{path}?format=xml"))
        for media in ("text/plain; charset=utf-8", "application/xml", "multipart/form-data", "Application/JSON; x=y"):
            headers = {"Content-Type": media}
            same(f"{media} {path}", lambda server: server.ask("POST", "/api/token/" + path, "{}", headers))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in ("username=alice&password=correct+horse", "username=alice&password=wrong", "username=&password=%20", "username=a", "a=b"):
        same(f"form {body}", lambda server: server.ask("POST", "/api/token/", body, form))

    # Tokens made by hand.
    now = int(time.time())
    good = {"token_type": "refresh", "exp": now + 600, "iat": now, "user_id": "1"}
    refreshed = "refresh"
    if kind == "sliding":
        good |= {"token_type": "sliding", "refresh_exp": now + 3600}
        refreshed = "token"
    odd = [
        {}, {"user_id": 1}, {"user_id": None}, {"user_id": ""}, {"extra": {"a": [1]}}, {"exp": now - 1}, {"exp": None}, {"jti": 7},
        {"iat": now + 600}, {"nbf": now + 600}, {"token_type": "access"}, {"token_type": "x"}, {"token_type": None}, {"sub": 7},
        {"exp": now + 600.5}, {"token_type": "refresh"}, {"token_type": "sliding"}, {"refresh_exp": now - 1}, {"refresh_exp": now + 9.5},
        {"refresh_exp": "x"}, {"refresh_exp": [1]}, {"refresh_exp": 1e20}, {"refresh_exp": None}, {"iss": "x"}, {"iat": None},
        {"token_type": "access", "refresh_exp": None},
    ]
    for path, name in (("refresh/", refreshed), ("verify/", "token"), ("blacklist/", "refresh")):
        for number, change in enumerate(odd):
            claims = good | {"jti": f"{path}{number}"} | change
            claims = {key: value for key, value in claims.items() if value is not None or key == "user_id"}
            token = sign(claims)
            same(f"{path} {change}", lambda server: server.post(path, {name: token}))
        for what, token in {
            "another secret": sign(good | {"jti": "a"}, secret="b" * 32),
            "HS512": sign(good | {"jti": "a"}, {"alg": "HS512", "typ": "JWT"}),
            "none": part({"alg": "none"}) + "." + part(good) + ".",
            "crit": sign(good | {"jti": "a"}, {"alg": "HS256", "crit": ["x"], "x": 1}),
            "cut": sign(good | {"jti": "a"})[:-1],
            "two parts": "a.b",
        }.items():
            same(f"{path} {what}", lambda server: server.post(path, {name: token}))

    # The life of a token.
    count += (live_sliding if kind == "sliding" else live_pair)(servers, rotates)
    return count


def live_pair(servers, rotates):
    destrier, django = servers
    count = 0
    for first in servers:
        second = django if first is destrier else destrier
        pair = first.login()
        for server in servers:
            status, _, body = server.ask("GET", "/me", headers={"Authorization": "Bearer " + pair["access"]})
            assert status == 200, (first.name, server.name, status, body)
            status, _, body = server.ask("GET", "/me", headers={"Authorization": "Bearer " + pair["refresh"]})
            assert status == 401, (first.name, server.name, status, body)
            status, _, body = server.post("verify/", {"token": pair["access"]})
            assert (status, body) == (200, "{}"), (first.name, server.name, status, body)
        status, _, body = second.post("refresh/", {"refresh": pair["refresh"]})
        assert status == 200, (first.name, second.name, status, body)
    pairs = [server.login() for server in servers]
    steps = ["refresh/", "refresh/", "verify/", "blacklist/", "blacklist/", "refresh/"] if rotates else [
        "refresh/", "refresh/", "verify/", "blacklist/", "verify/", "blacklist/", "refresh/"]
    for number, path in enumerate(steps):
        name = "token" if path == "verify/" else "refresh"
        count += 1
        compare(f"step {number} {path}", *(server.post(path, {name: pair["refresh"]}) for server, pair in zip(servers, pairs)))
    return count


def live_sliding(servers, rotates):
    destrier, django = servers
    count = 0
    for first in servers:
        second = django if first is destrier else destrier
        token = first.login()["token"]
        for server in (first, second, first):
            for path in ("refresh/", "verify/"):
                status, _, body = server.post(path, {"token": token})
                assert status == 200, (first.name, server.name, path, status, body)
                slid = json.loads(body).get("token", token)
                before, after = read(token), read(slid)
                assert list(before) == list(after), (before, after)
                assert all(before[name] == after[name] for name in before if name not in ("exp", "iat")), (before, after)
                token = slid
            status, _, body = server.ask("GET", "/me", headers={"Authorization": "Bearer " + token})
            assert status == 200, (first.name, server.name, status, body)
    tokens = [server.login()["token"] for server in servers]
    for number, path in enumerate(["refresh/", "verify/", "refresh/", "blacklist/", "refresh/", "verify/"]):
        name = "refresh" if path == "blacklist/" else "token"
        count += 1
        compare(f"step {number} {path}", *(server.post(path, {name: token}) for server, token in zip(servers, tokens)))
    # Nobody else's token opens anything.
    now = int(time.time())
    for token_type in ("refresh", "x"):
        token = sign({"token_type": token_type, "exp": now + 60, "iat": now, "jti": "me", "user_id": "1"})
        for server in servers:
            status, _, body = server.ask("GET", "/me", headers={"Authorization": "Bearer " + token})
            assert status == 401, (server.name, token_type, status, body)
    return count


def start(command, ready, **options):
    process = subprocess.Popen(command, **options)
    for _ in range(200):
        if port := ready(process):
            return process, port
        time.sleep(0.05)
    process.kill()
    raise SystemExit(f"{command[0]} does not start")


def run(kind, rotates):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "secret").write_text(SECRET)
        (folder / "secret").chmod(0o600)
        environment = os.environ | {"ROTATE": "1" if rotates else "0", "SLIDING": "1" if kind == "sliding" else "0"}
        project = [sys.executable, str(HERE / "project.py"), str(folder)]
        subprocess.run([*project, "init"], check=True, env=environment)
        django, port = start([*project, "serve", "0"], lambda process: int(process.stdout.readline()),
                             env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        # Of the ports above it one is free.
        with __import__("socket").socket() as free:
            free.bind(("127.0.0.1", 0))
            ours = free.getsockname()[1]
        config = folder / "destrier.toml"
        config.write_text(CONFIG.format(port=ours, kind=kind, rotate=str(rotates).lower()))

        def user(*words):
            subprocess.run([DESTRIER, "user", *words, "-c", str(config)], input=PASSWORD.encode(), check=True, capture_output=True)

        user("add", "alice")
        user("add", "gone")
        user("disable", "gone")
        status = [DESTRIER, "status", "-c", str(config)]
        serves = lambda _: ours if b"accepting" in subprocess.run(status, capture_output=True).stdout else None
        with open(folder / "log", "wb") as log:
            destrier, _ = start([DESTRIER, "run", "-c", str(config)], serves, stderr=log)
        try:
            return requests((Server("destrier", ours), Server("django", port)), kind, rotates)
        finally:
            for process in (destrier, django):
                process.terminate()
                process.wait()


if __name__ == "__main__":
    total = sum(run(kind, rotates) for kind in ("pair", "sliding") for rotates in (False, True))
    print(f"{total} requests, {len(failures)} differ")
    sys.exit(1 if failures else 0)
