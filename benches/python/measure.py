"""A server that runs, and what a load costs it."""

import http.client
import os
import re
import signal
import subprocess
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
SCALE = {"us": 1e-3, "ms": 1, "s": 1e3, "m": 60e3}


class Running:
    """Serves while the block is executed."""

    def __init__(self, server, path="/", begins=b"Hello"):
        """It serves when what it answers at `path` begins so."""
        self.server, self.path, self.begins = server, path, begins

    def __enter__(self):
        self.process = subprocess.Popen(
            self.server.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        try:
            self.wait()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_):
        self.end()

    def wait(self):
        last = None
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"it ends: {self.process.stderr.read().decode(errors='replace')[-2000:]}")
            try:
                connection = http.client.HTTPConnection(*self.server.place, timeout=5)
                connection.request("GET", self.path, headers=self.server.headers)
                answer = connection.getresponse()
                last = answer.status, answer.read()
                connection.close()
                if last[0] == 200 and last[1].startswith(self.begins):
                    return
            except (OSError, http.client.HTTPException) as error:
                last = error
            time.sleep(0.1)
        raise RuntimeError(f"it does not serve: {last}")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process.stderr.close()

    def load(self, connections, seconds):
        """Asks as fast as it can on so many connections."""
        ask = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
        for name, value in self.server.headers.items():
            ask += ["-H", f"{name}: {value}"]
        host, port = self.server.place
        (busy, before, began) = (busy_time(), self.spent(), time.monotonic())
        wrk = subprocess.Popen([*ask, f"http://{host}:{port}/"], stdout=subprocess.PIPE, text=True)
        said = wrk.stdout.read()
        _, status, used = os.wait4(wrk.pid, 0)
        wrk.stdout.close()
        wrk.returncode = os.waitstatus_to_exitcode(status)
        (spent, took) = (self.spent() - before, time.monotonic() - began)
        requests = int(re.search(r"(\d+) requests in", said).group(1))
        bad = re.search(r"Non-2xx.*", said)
        if bad or requests == 0:
            raise RuntimeError(bad.group(0) if bad else "it answers no request")
        others = busy_time() - busy - spent - used.ru_utime - used.ru_stime
        return {
            "requests/s": float(re.search(r"Requests/sec:\s*([\d.]+)", said).group(1)),
            "p50 ms": waited(said, 50),
            "p99 ms": waited(said, 99),
            "us CPU": spent * 1e6 / requests,
            "MiB": self.memory(),
            "others": max(0.0, others / took),
        }

    def pids(self):
        return list(descendants(self.process.pid))

    def spent(self):
        """Seconds of processors, of all its processes."""
        return sum(map(processor_time, self.pids()))

    def memory(self):
        """MiB of all its processes, what they share counted once (PSS)."""
        total = 0
        for pid in self.pids():
            try:
                rolled = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total += int(re.search(r"^Pss:\s*(\d+)", rolled, re.MULTILINE).group(1))
        return total / 1024


def waited(said, percentile):
    value, unit = re.search(rf"^\s+{percentile}%\s+([\d.]+)(us|ms|s|m)$", said, re.MULTILINE).groups()
    return float(value) * SCALE[unit]


def descendants(pid):
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from descendants(int(child))


def processor_time(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / TICK


def busy_time():
    """Seconds that all processors together were not idle, this program's own included."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / TICK
