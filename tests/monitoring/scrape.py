"""Starts the demo, scrapes it in both formats, and holds what is read against docs/monitoring.md, the dashboard and the alerts."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as prometheus_families

CONFIG = """
server.bind = "127.0.0.1:0"
workers.count = 2
process.control_socket = "control.sock"
admin.bind = "127.0.0.1:%d"
auth.rule = [{ path = "/**", access = "public" }]
"""


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def get(url, accept):
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def until_ready(url):
    for _ in range(400):
        try:
            return get(url + "/readyz", "*/*")
        except OSError:
            time.sleep(0.05)
    sys.exit("the server does not get ready")


def names_in(path):
    with open(path, encoding="utf-8") as file:
        return set(re.findall(r"destrier_[a-z_]+[a-z]", file.read()))


def samples(families):
    found = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        with open(os.path.join(folder, "destrier.toml"), "w", encoding="utf-8") as file:
            file.write(CONFIG % port)
        server = subprocess.Popen([program, "run", "-c", file.name], stderr=subprocess.DEVNULL)
        try:
            check(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(timeout=60)


def check(url):
    until_ready(url)
    content_type, text = get(url + "/metrics", "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0"), content_type
    # Strict: units, types, the order of buckets, the end.
    found = samples(openmetrics_families(text))
    buckets = found["destrier_request_duration_seconds_bucket"]
    assert len(buckets) > 20 and buckets[-1].labels["le"] == "+Inf", buckets[-1]
    content_type, text = get(url + "/metrics", "text/plain;version=0.0.4")
    assert content_type.startswith("text/plain; version=0.0.4"), content_type
    older = samples(prometheus_families(text))
    assert set(older) == set(found), set(older) ^ set(found)
    documented = names_in("docs/monitoring.md")
    # What only some servers have.
    known = set(found) | {"destrier_worker_proportional_memory_bytes", "destrier_feed_age_seconds"}
    known |= {"destrier_feed_good", "destrier_feed_failing", "destrier_request_duration_seconds"}
    known |= {"destrier_certificate_expiry_timestamp_seconds", "destrier_templates"}
    known |= {"destrier_python_threads", "destrier_python_threads_busy", "destrier_queue_oldest_wait_seconds"}
    histogram = {"destrier_request_duration_seconds_" + part for part in ("bucket", "sum", "count")}
    assert known - histogram == documented, (known - histogram) ^ documented
    for path in ("examples/monitoring/alerts.yml", "examples/monitoring/dashboard.json"):
        assert names_in(path) <= known, names_in(path) - known
    with open("examples/monitoring/dashboard.json", encoding="utf-8") as file:
        assert json.load(file)["panels"]
    print(f"{len(found)} names, {sum(map(len, found.values()))} samples, both formats")


if __name__ == "__main__":
    main(sys.argv[1])
