#!/usr/bin/env python3
"""What a WSGI request costs the processor beside granian, gunicorn and uWSGI: benches/wsgi.py [SECONDS [ROUNDS]].

Each server serves the same applications with the same number of workers, one after the other, in rounds; every other round goes
backwards. What counts is the processor time of the server's processes for each request, the figure that a busy machine disturbs
least, and its ratio to destrier's. `wrk` (Debian: wrk) asks. Before: cargo build --release --workspace.
"""

import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "bench-wsgi"
PEERS = ["granian==2.8.7", "gunicorn==27.0.1", "uWSGI==2.0.31", "django==5.2.19", "flask==3.1.3"]
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 3
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 4
CONNECTIONS = 64
TICK = os.sysconf("SC_CLK_TCK")

APPLICATIONS = """
def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, world!"]


def django():
    import django
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path

    names = [
        "security.SecurityMiddleware",
        "common.CommonMiddleware",
        "csrf.CsrfViewMiddleware",
        "clickjacking.XFrameOptionsMiddleware",
        "http.ConditionalGetMiddleware",
    ]
    settings.configure(
        SECRET_KEY="x" * 50,
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["django.middleware." + name for name in names],
    )
    django.setup()
    global urlpatterns
    urlpatterns = [path("", lambda request: HttpResponse("Hello, world!"))]
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def flask():
    import flask

    app = flask.Flask(__name__)
    app.route("/")(lambda: "Hello, world!")
    return app


_made = {}


def __getattr__(name):
    if name not in ("django_app", "flask_app"):
        raise AttributeError(name)
    if name not in _made:
        _made[name] = {"django_app": django, "flask_app": flask}[name]()
    return _made[name]
"""


def servers(folder, app, port, workers):
    """Name and command of each."""
    binary, place = str(VENV / "bin"), f"127.0.0.1:{port}"
    config = folder / f"{app}-{workers}.toml"
    config.write_text(
        f'[server]\nbind = "{place}"\n[workers]\ncount = {workers}\n[process]\ncontrol_socket = "{folder}/control.sock"\n'
        f'[log]\nlevel = "warn"\n[app]\nwsgi = "applications:{app}"\npython = "{binary}/python"\nchdir = "{folder}"\nthreads = 1\n'
        '[[auth.rule]]\npath = "/**"\naccess = "public"\n'
    )
    granian = [f"{binary}/granian", "--interface", "wsgi", "--port", str(port), "--workers", str(workers)]
    granian += ["--no-access-log", "--log-level", "error"]
    gunicorn = [f"{binary}/gunicorn", "-b", place, "-w", str(workers), "--log-level", "error"]
    uwsgi = [f"{binary}/uwsgi", "--http11-socket", place, "--master", "--processes", str(workers), "--threads", "64"]
    return [
        ("destrier", [str(ROOT / "target/release/destrier"), "run", "-c", str(config)]),
        ("granian", [*granian, f"applications:{app}"]),
        ("granian, 1 blocking thread", [*granian, "--blocking-threads", "1", f"applications:{app}"]),
        ("gunicorn gthread", [*gunicorn, "-k", "gthread", "--threads", "4", f"applications:{app}"]),
        ("uWSGI", [*uwsgi, "--disable-logging", "--module", f"applications:{app}"]),
    ]


def descendants(pid):
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += descendants(int(child))
    return found


def processor_time(pid):
    """Microseconds of the process and all below it."""
    total = 0
    for each in descendants(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * 1_000_000 / TICK


def wait_for(port, process):
    for _ in range(600):
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                if b"Hello, world!" in b"".join(iter(lambda: connection.recv(4096), b"")):
                    return
        except OSError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"benches/wsgi.py: {process.args[0]} does not serve")


def measure(folder, command, port):
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(port, process)
        ask = ["wrk", "-t1", f"-c{CONNECTIONS}", f"http://127.0.0.1:{port}/"]
        subprocess.run([*ask, "-d1s"], capture_output=True, check=True)
        before = processor_time(process.pid)
        said = subprocess.run([*ask, f"-d{SECONDS:g}s", "--latency"], capture_output=True, check=True, text=True).stdout
        spent = processor_time(process.pid) - before
        requests = int(re.search(r"(\d+) requests in", said).group(1))
        bad = re.search(r"Non-2xx.*: (\d+)", said)
        if bad:
            raise SystemExit(f"benches/wsgi.py: {command[0]}: {bad.group(0)}")
        return requests / SECONDS, spent / requests
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main():
    if not shutil.which("wrk"):
        raise SystemExit("benches/wsgi.py: `wrk` is missing (Debian: apt-get install wrk)")
    if not (VENV / "bin/granian").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        subprocess.run([VENV / "bin/pip", "-q", "--disable-pip-version-check", "install", *PEERS], check=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "applications.py").write_text(APPLICATIONS)
        for app in ["hello", "flask_app", "django_app"]:
            for workers in [1, 2]:
                compare(folder, app, workers)


def compare(folder, app, workers):
    figures = {}
    port = 18_000
    for turn in range(ROUNDS):
        listed = servers(folder, app, port, workers)
        for name, command in listed if turn % 2 == 0 else reversed(listed):
            figures.setdefault(name, []).append(measure(folder, command, port))
    print(f"\n{app}, workers: {workers}, connections: {CONNECTIONS}")
    print(f"{'':28} {'requests/s':>10} {'us CPU':>8} {'of it':>6}")
    costs = {name: statistics.median(cost for _, cost in runs) for name, runs in figures.items()}
    for name, runs in figures.items():
        rate = statistics.median(rate for rate, _ in runs)
        print(f"{name:28} {rate:10.0f} {costs[name]:8.1f} {costs['destrier'] / costs[name]:6.2f}", flush=True)


if __name__ == "__main__":
    main()
