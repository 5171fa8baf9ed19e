"""Scans a server of its own with sslyze: `scan.py DESTRIER`. Exits 1 and says what is wrong, if anything is."""

import pathlib
import re
import subprocess
import sys
import tempfile

from sslyze import Scanner, ServerNetworkLocation, ServerScanRequest
from sslyze.mozilla_tls_profile.tls_config_checker import (
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)

CONFIG = """
[tls]
bind = "127.0.0.1:0"
certificate_file = "web.crt"
key_file = "web.key"
{more}
[workers]
count = 2
[process]
control_socket = "control.sock"
[log]
format = "json"
[[auth.rule]]
path = "/**"
access = "public"
"""


class Server:
    """destrier in a folder of its own, on a port of the kernel's choice."""

    def __init__(self, destrier, more):
        self.folder = tempfile.TemporaryDirectory(prefix="tls")
        folder = pathlib.Path(self.folder.name)
        pair = ["--out-cert", folder / "web.crt", "--out-key", folder / "web.key"]
        subprocess.run(
            [destrier, "tls", "self-signed", "--name", "localhost", *pair],
            check=True,
            capture_output=True,
        )
        config = folder / "destrier.toml"
        config.write_text(CONFIG.format(more=more))
        self.process = subprocess.Popen(
            [destrier, "run", "-c", config], stderr=subprocess.PIPE, text=True
        )
        self.port = next(filter(None, map(self.port_in, self.process.stderr)))

    @staticmethod
    def port_in(line):
        found = re.search(r'"listening".*"address":"127\.0\.0\.1:(\d+)"', line)
        return found and int(found.group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()
        self.folder.cleanup()


def scan(port):
    location = ServerNetworkLocation(hostname="localhost", ip_address="127.0.0.1", port=port)
    scanner = Scanner()
    scanner.queue_scans([ServerScanRequest(server_location=location)])
    return next(scanner.get_results())


def problems(result, profile):
    """What is wrong with a server of this profile of Mozilla."""
    issues = {}
    try:
        check_server_against_tls_configuration(result, MozillaTlsConfiguration.get(profile))
    except ServerNotCompliantWithTlsConfiguration as error:
        issues = dict(error.issues)
    # A certificate that signs itself is trusted by nobody. Resumption is not asked about: sslyze takes a resumed session that comes
    # with a new ticket for none, so tests/e2e/tls.rs does.
    issues.pop("certificate_path_validation", None)
    found = result.scan_result
    wanted = {
        "a client can renegotiate": not found.session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos,
        "early data is accepted": not found.tls_1_3_early_data.result.supports_early_data,
    }
    return [*issues.values(), *(problem for problem, is_fine in wanted.items() if not is_fine)]


def main():
    destrier = sys.argv[1]
    for profile, more in [
        (TlsConfigurationEnum.MOZILLA_INTERMEDIATE, ""),
        (TlsConfigurationEnum.MOZILLA_MODERN, 'min_version = "1.3"'),
    ]:
        with Server(destrier, more) as server:
            found = problems(scan(server.port), profile)
        if found:
            sys.exit(f"{profile.value}: " + "; ".join(found))
        print(f"sslyze: compliant with the {profile.value} profile of Mozilla")


main()
