#!/usr/bin/env python3
"""What a request to a Python application costs, beside granian, gunicorn, uWSGI and uvicorn.

Each server serves the same applications with as many workers, one after the other, in rounds; every other round goes backwards. What counts
is the processor time of all processes of a server for each request, the figure that a busy machine disturbs least, and how it relates to
destrier's in the same round. Requests a second and waiting times say something on a machine that does nothing else; `others` says how many
processors the rest of it has used meanwhile, without the load.

Before: `cargo build --release --workspace`, and `wrk` (Debian: wrk). The other servers are installed with pip into target/bench-python.
"""

import argparse
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import servers
from measure import Running

ASKED = ["requests/s", "p50 ms", "p99 ms", "us CPU", "us least", "MiB", "others"]


def arguments():
    parser = argparse.ArgumentParser(prog="benches/python", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(servers.APPLICATIONS)
    parser.add_argument("--apps", nargs="+", metavar="NAME", choices=servers.APPLICATIONS, default=list(servers.APPLICATIONS), help=names)
    parser.add_argument("--servers", nargs="+", metavar="WORD", help="those whose name has one of these words in it; destrier always is one")
    parser.add_argument("--workers", nargs="+", type=int, metavar="N", default=[1, 2])
    parser.add_argument("--connections", nargs="+", type=int, metavar="N", default=[1, 4, 64])
    parser.add_argument("--rounds", type=int, metavar="N", default=3)
    parser.add_argument("--seconds", type=float, metavar="N", default=1.0, help="of each measurement")
    parser.add_argument("--destrier", type=Path, metavar="FILE", nargs="+", default=[servers.DESTRIER], help="the program; several are compared")
    return parser.parse_args()


def main():
    options = arguments()
    if not shutil.which("wrk"):
        raise SystemExit("benches/python: `wrk` is missing (Debian: apt-get install wrk)")
    missing = servers.install()
    for app in options.apps:
        for workers in options.workers:
            compare(options, app, workers, missing)
    for package, reason in missing.items():
        print(f"\nleft out, for {package} cannot be installed: {reason}")


def chosen(options, folder, app, workers, missing):
    """The servers that are measured."""
    words = options.servers or [""]
    for server in servers.of(options.destrier, folder, app, workers):
        is_wanted = server.name.startswith("destrier") or any(word in server.name for word in words)
        if is_wanted and server.package not in missing:
            yield server


def compare(options, app, workers, missing):
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        for turn in range(options.rounds):
            listed = list(chosen(options, Path(name), app, workers, missing))
            for server in listed if turn % 2 == 0 else reversed(listed):
                try:
                    measure(options, server, figures.setdefault(server.name, {}))
                except (OSError, subprocess.SubprocessError, RuntimeError) as error:
                    print(f"{app}, {server.name}: {error}", flush=True)
    for connections in options.connections:
        show(f"{app}, workers: {workers}, connections: {connections}", figures, connections)


def measure(options, server, figures):
    with Running(server) as running:
        running.load(max(options.connections), 0.5)
        for connections in options.connections:
            figures.setdefault(connections, []).append(running.load(connections, options.seconds))


def show(title, figures, connections):
    rows = {name: runs[connections] for name, runs in figures.items() if runs.get(connections)}
    first = next(iter(rows), None)
    width = max((len(name) for name in rows), default=0)
    print(f"\n{title}\n{'':{width}} " + " ".join(f"{name:>10}" for name in ASKED) + f" {'ratio':>6}")
    for name, runs in rows.items():
        figure = lambda key: statistics.median(run[key] for run in runs)
        ratios = [ours["us CPU"] / run["us CPU"] for ours, run in zip(rows[first], runs)]
        shown = [f"{figure('requests/s'):10.0f}", f"{figure('p50 ms'):10.3f}", f"{figure('p99 ms'):10.2f}", f"{figure('us CPU'):10.1f}"]
        shown += [f"{min(run['us CPU'] for run in runs):10.1f}", f"{figure('MiB'):10.1f}", f"{figure('others'):10.2f}"]
        print(f"{name:{width}} {' '.join(shown)} {statistics.median(ratios):6.2f}", flush=True)


if __name__ == "__main__":
    main()
