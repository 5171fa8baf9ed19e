"""The servers that are compared, and how each is told to serve an application."""

import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DESTRIER = ROOT / "target/release/destrier"
BINARIES = ROOT / "target/bench-python/bin"
# Of HS256, in the applications too.
SECRET = "0123456789abcdef0123456789abcdef"

APPLICATIONS = {
    "hello": "wsgi",
    "django": "wsgi",
    "flask": "wsgi",
    "protected": "wsgi",
    "asgi_hello": "asgi",
    "starlette": "asgi",
    "fastapi": "asgi",
    "asgi_protected": "asgi",
}

FRAMEWORKS = ["django==5.2.19", "flask==3.1.3", "fastapi", "PyJWT"]
PEERS = {
    "granian": "granian==2.8.7",
    "gunicorn": "gunicorn==27.0.1",
    "uWSGI": "uWSGI==2.0.31",
    "uvicorn": "uvicorn[standard]==0.54",
}


@dataclass
class Server:
    name: str
    package: str
    command: list
    place: tuple
    headers: dict = field(default_factory=dict)


def install():
    """Installs what is missing. Returns which servers cannot be, and why; without the frameworks there is nothing to compare."""
    if not (BINARIES / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", BINARIES.parent], check=True)
    if not (BINARIES / "flask").exists():
        pip(*FRAMEWORKS).check_returncode()
    failed = {}
    for name, package in PEERS.items():
        if (BINARIES / name.lower()).exists():
            continue
        said = pip(package)
        if said.returncode != 0:
            failed[name] = (said.stderr.strip().splitlines() or ["pip does not say why"])[-1]
    return failed


def pip(*packages):
    command = [BINARIES / "pip", "-q", "--disable-pip-version-check", "install", *packages]
    return subprocess.run(command, capture_output=True, text=True)


def of(programs, folder, app, workers):
    """Each, with a port of its own."""
    headers = {"Authorization": f"Bearer {token()}"} if app.endswith("protected") else {}
    peers = wsgi if APPLICATIONS[app] == "wsgi" else asgi
    for server in [*destriers(programs, folder, app, workers), *peers(app, workers)]:
        server.headers = headers
        yield server


def destriers(programs, folder, app, workers):
    (folder / "secret").write_text(SECRET)
    (folder / "secret").chmod(0o600)
    for number, program in enumerate(programs):
        place = free_place()
        config = folder / f"{number}.toml"
        config.write_text(configured(folder, app, workers, place))
        name = "destrier" if number == 0 else f"destrier, {program}"
        yield Server(name, "destrier", [program, "run", "-c", config], place)


def configured(folder, app, workers, place):
    served, rule = app, '[[auth.rule]]\npath = "/**"\naccess = "public"\n'
    if app.endswith("protected"):
        served += "_by_the_edge"
        rule = '[[auth.issuer]]\nname = "bench"\nissuer = "bench"\nsecret_file = "secret"\n[[auth.rule]]\npath = "/**"\n'
    return (
        f'[server]\nbind = "{place[0]}:{place[1]}"\n[workers]\ncount = {workers}\n'
        f'[process]\ncontrol_socket = "{folder}/control.sock"\n[log]\nlevel = "warn"\n'
        f'[app]\n{APPLICATIONS[app]} = "applications:{served}"\npython = "{BINARIES}/python"\nchdir = "{HERE}"\n{rule}'
    )


def wsgi(app, workers):
    target = f"applications:{app}"
    yield granian("granian", "wsgi", target, workers, [])
    yield granian("granian, --blocking-threads 1", "wsgi", target, workers, ["--blocking-threads", "1"])
    for name, more in {"gunicorn sync": [], "gunicorn gthread": ["-k", "gthread", "--threads", "4"]}.items():
        place = free_place()
        command = [BINARIES / "gunicorn", "-b", f"{place[0]}:{place[1]}", "-w", str(workers), "--log-level", "error", "--chdir", HERE]
        yield Server(name, "gunicorn", [*command, *more, target], place)
    place = free_place()
    # A thread for each connection that is kept: with fewer it starves some.
    command = [BINARIES / "uwsgi", "--http11-socket", f"{place[0]}:{place[1]}", "--master", "--processes", str(workers), "--threads", "64"]
    yield Server("uWSGI", "uWSGI", [*command, "--die-on-term", "--disable-logging", "--chdir", HERE, "--module", target], place)


def asgi(app, workers):
    target = f"applications:{app}"
    yield granian("granian", "asgi", target, workers, [])
    place = free_place()
    command = [BINARIES / "uvicorn", "--port", str(place[1]), "--workers", str(workers), "--loop", "uvloop", "--http", "httptools"]
    yield Server("uvicorn", "uvicorn", [*command, "--no-access-log", "--log-level", "error", "--app-dir", HERE, target], place)


def granian(name, interface, target, workers, more):
    place = free_place()
    command = [BINARIES / "granian", "--interface", interface, "--port", str(place[1]), "--workers", str(workers)]
    command += ["--no-access-log", "--log-level", "error", "--working-dir", HERE]
    return Server(name, "granian", [*command, *more, target], place)


def free_place():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()


_token = []


def token():
    """One that is good for a day."""
    if not _token:
        code = f"import jwt, time; print(jwt.encode(dict(iss='bench', sub='anna', exp=int(time.time()) + 86400, scope='read write'), '{SECRET}'))"
        _token.append(subprocess.run([BINARIES / "python", "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    return _token[0]
