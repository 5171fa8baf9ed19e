"""What the checks of all examples need: a copy that is set up as its README says, a server, requests."""

import glob
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def check(held, *what):
    if not held:
        raise SystemExit(f"not as it should be: {what}")


def equal(found, expected):
    check(found == expected, "found", found, "expected", expected)


class Answer:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.text = response.read().decode()

    def json(self, status=200):
        check(self.status == status, self.status, self.text)
        return json.loads(self.text)


def blocks(document, language, heading=""):
    """The blocks of code in a language that stand in a document, or in its section of that heading."""
    text = document.read_text().partition(heading)[2].partition("\n## ")[0] if heading else document.read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class Example:
    """A copy of an example in target/examples, or an empty folder there."""

    def __init__(self, name, wheel, is_empty=False):
        self.folder = ROOT / "target/examples" / name
        shutil.rmtree(self.folder, ignore_errors=True)
        if is_empty:
            self.folder.mkdir(parents=True)
        else:
            shutil.copytree(ROOT / "examples" / name, self.folder)
        constraint = self.folder.with_suffix(".constraint")
        constraint.write_text(f"destrier @ {Path(wheel).resolve().as_uri()}\n")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % free.getsockname()[1]
        self.environment = os.environ | {
            "PIP_CONSTRAINT": str(constraint),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_QUIET": "1",
            "DESTRIER_SERVER__BIND": self.address,
            # In a folder of its own, which may be too long for the address of a socket.
            "DESTRIER_PROCESS__CONTROL_SOCKET": f"/tmp/destrier-example-{os.getpid()}.sock",
        }

    def replace(self, old, new):
        """In all that the example shows and has for its configuration."""
        for file in [self.folder / "README.md", *self.folder.glob("*.toml")]:
            file.write_text(file.read_text().replace(old, new))

    def run(self, *command, **options):
        options = {"check": True, "stdout": subprocess.DEVNULL} | options
        return subprocess.run(command, cwd=self.folder, env=self.environment, text=True, timeout=600, **options)

    def destrier(self, *arguments, **options):
        return self.run(".venv/bin/destrier", *arguments, **options)

    @contextmanager
    def serving(self, block=0):
        """As the block of that number of the README says."""
        with self.after(blocks(self.folder / "README.md", "sh")[block]):
            yield

    @contextmanager
    def after(self, script):
        """A script whose last line runs the server."""
        setup, _, run = script.strip().rpartition("\n")
        self.run("bash", "-euc", setup + "\nexport -p >.exported")
        with open(self.folder / "log", "w") as log:
            process = subprocess.Popen(["bash", "-c", f". ./.exported; exec {run}"], cwd=self.folder, env=self.environment, stderr=log)
        try:
            while " serving" not in (said := (self.folder / "log").read_text()) and '"serving"' not in said:
                check(process.poll() is None, "it ended while it booted", said)
                time.sleep(0.05)
            yield
            process.terminate()
            equal(process.wait(), 0)
        except BaseException:
            sys.stdout.write((self.folder / "log").read_text())
            raise
        finally:
            process.kill()
            process.wait()

    def ask(self, method, path, token=None, form=None, json_body=None, headers=()):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        headers = dict(headers)
        body = None
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urllib.parse.urlencode(form)
        if json_body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(json_body)
        connection.request(method, path, body, headers)
        answer = Answer(connection.getresponse())
        connection.close()
        return answer

    def get(self, path, token=None, **more):
        return self.ask("GET", path, token, **more)

    def log_in(self, username, password, path="/api/token/"):
        return self.ask("POST", path, form={"username": username, "password": password}).json()

    def refuses_without_a_token(self, path):
        refused = self.get(path)
        equal(refused.json(401), {"detail": "Authentication credentials were not provided.", "code": "not_authenticated"})
        check(refused.headers["WWW-Authenticate"].startswith("Bearer "), refused.headers)
        equal(self.get(path, token="eyJhbGciOiJub25lIn0.e30.").status, 401)

    def reloads(self, file, old, new):
        """A mistake in `file` changes nothing."""
        file = self.folder / file
        text = file.read_text()
        check(old in text, file, old)
        file.write_text(text.replace(old, new))
        refused = self.destrier("reload", check=False, stderr=subprocess.PIPE)
        file.write_text(text)
        check(refused.returncode == 1 and "cannot load" in refused.stderr, refused)
        self.destrier("reload")


@contextmanager
def postgres():
    """A cluster of PostgreSQL with a database `mysite` of a user of that name: the folder of its socket."""
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [str(Path(shutil.which("initdb")).parent)]
    # It refuses to run as root.
    user = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    script = (ROOT / "tests/postgres.sh").read_text()
    keeper = subprocess.Popen([*user, "sh", "-c", script, "sh", programs[-1]], cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    folder = keeper.stdout.readline().strip()
    try:
        for statement in ("CREATE ROLE mysite LOGIN", "CREATE DATABASE mysite OWNER mysite"):
            psql = [f"{programs[-1]}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", folder, "-U", "destrier", "-d", "postgres", "-c"]
            subprocess.run([*psql, statement], check=True)
        yield folder
    finally:
        keeper.stdin.close()
        keeper.wait()
