#!/usr/bin/env python3
"""Builds destrier with the profile of a load, so that the compiler knows what a request executes: python3 benches/profile_guided

It is built once with counters, serves the demo (HTTP/1.1, HTTP/2, TLS, tokens) and Python applications under load for half a minute, and is
built again with what was counted. Both builds are release builds of everything: allow twenty minutes. The result is
target/profile-guided/release/destrier, with its extension beside it.

Before: `wrk` and `h2load` (Debian: wrk, nghttp2-client), and `llvm-profdata` of the LLVM that rustc has (rustup component add llvm-tools;
or Debian's package llvm-N): it is looked for where rustup puts it and on PATH, or named with --llvm-profdata.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "python"))

import servers
from measure import Running

FOLDER = ROOT / "target/profile-guided"
COUNTED = FOLDER / "counted"
PROFILE = FOLDER / "destrier.profdata"
# Values, such as which function an indirect call led to, cannot be counted in a file that is mapped; and both builds are to agree.
BOTH = "-Cllvm-args=-disable-vp"
# Counters lie in a file that is mapped, for workers end without saying so (`_exit`).
COUNTERS = f"-Cprofile-generate={COUNTED} -Cllvm-args=--runtime-counter-relocation {BOTH}"


def main():
    parser = argparse.ArgumentParser(prog="benches/profile_guided", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llvm-profdata", metavar="PROGRAM", help="of the LLVM that rustc has")
    parser.add_argument("--seconds", type=int, metavar="N", default=1, help="of each load")
    options = parser.parse_args()
    for tool, package in {"wrk": "wrk", "h2load": "nghttp2-client"}.items():
        if not shutil.which(tool):
            raise SystemExit(f"benches/profile_guided: `{tool}` is missing (Debian: apt-get install {package})")
    merge = options.llvm_profdata or profdata()
    servers.install()
    counting = build("with-counters", COUNTERS)
    shutil.rmtree(COUNTED, ignore_errors=True)
    # One file for each of the two programs, whatever process it is.
    os.environ["LLVM_PROFILE_FILE"] = f"{COUNTED}/%m%c.profraw"
    with tempfile.TemporaryDirectory() as folder:
        load_demo(counting, Path(folder), options.seconds)
        load_applications(counting, Path(folder), options.seconds)
    del os.environ["LLVM_PROFILE_FILE"]
    subprocess.run([merge, "merge", "-o", PROFILE, COUNTED], check=True)
    program = build(".", f"-Cprofile-use={PROFILE} {BOTH}")
    print(f"{program} is built with the profile")


def profdata():
    """The one that reads what this rustc writes."""
    told = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    host = re.search(r"^host: (.*)$", told, re.MULTILINE).group(1)
    major = re.search(r"^LLVM version: (\d+)", told, re.MULTILINE).group(1)
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
    for candidate in (f"{sysroot}/lib/rustlib/{host}/bin/llvm-profdata", f"llvm-profdata-{major}", "llvm-profdata"):
        found = shutil.which(candidate)
        if found and f"LLVM version {major}." in subprocess.run([found, "--version"], capture_output=True, text=True).stdout:
            return found
    raise SystemExit(
        f"benches/profile_guided: `llvm-profdata` of LLVM {major} is missing"
        f" (rustup component add llvm-tools; or Debian: apt-get install llvm-{major})"
    )


def build(folder, flags):
    environment = {**os.environ, "RUSTFLAGS": f"{os.environ.get('RUSTFLAGS', '')} {flags}".strip(), "CARGO_TARGET_DIR": str(FOLDER / folder)}
    subprocess.run(["cargo", "build", "--release", "--locked"], check=True, cwd=ROOT, env=environment)
    return (FOLDER / folder / "release/destrier").resolve()


def load_demo(program, folder, seconds):
    """Tokens of each algorithm, connections that are kept and that are not, with and without TLS."""
    run = lambda *words: subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout.strip()
    run("tls", "self-signed", "--name", "localhost", "--out-cert", folder / "tls.crt", "--out-key", folder / "tls.key")
    (folder / "HS256").write_text(servers.SECRET)
    (folder / "HS256").chmod(0o600)
    issuers, tokens = '[[auth.issuer]]\nname = "HS256"\nissuer = "HS256"\nsecret_file = "HS256"\n', {}
    for algorithm in ("RS256", "ES256"):
        run("key", "generate", algorithm, "--out", folder / algorithm)
        issuers += f'[[auth.issuer]]\nname = "{algorithm}"\nissuer = "{algorithm}"\npublic_key_file = "{algorithm}.pub"\nalgorithms = ["{algorithm}"]\n'
    for algorithm in ("HS256", "RS256", "ES256"):
        tokens[algorithm] = run("token", "issue", "--sub", "anna", "--claim", f'iss="{algorithm}"', "--key", folder / algorithm)
    plain, secure = servers.free_place(), servers.free_place()
    (folder / "destrier.toml").write_text(
        f'[server]\nbind = "{plain[0]}:{plain[1]}"\n[tls]\nbind = "{secure[0]}:{secure[1]}"\ncertificate_file = "tls.crt"\nkey_file = "tls.key"\n'
        f'[process]\ncontrol_socket = "control.sock"\n[log]\nlevel = "warn"\n{issuers}[[auth.rule]]\npath = "/**"\n'
    )
    headers = {"Authorization": f"Bearer {tokens['HS256']}"}
    server = servers.Server("destrier", "destrier", [program, "run", "-c", folder / "destrier.toml"], plain, headers)
    http, https = (f"{scheme}://{host}:{port}" for scheme, (host, port) in (("http", plain), ("https", secure)))
    with Running(server, path="/hello", begins=b'{"message"'):
        for algorithm in ("RS256", "ES256"):
            ask("wrk", http, tokens[algorithm], seconds)
        for base in (http, https):
            ask("wrk", base, tokens["HS256"], seconds)
            ask("wrk", base, tokens["HS256"], seconds, "-H", "Connection: close")
            ask("h2load", base, tokens["HS256"], seconds)


def ask(client, base, token, seconds, *more):
    command = {"wrk": ["wrk", "-t1", "-c32", f"-d{seconds}s"], "h2load": ["h2load", "-c32", "-m8", f"-D{seconds}"]}[client]
    said = subprocess.run([*command, *more, "-H", f"Authorization: Bearer {token}", f"{base}/hello"], check=True, capture_output=True, text=True).stdout
    is_served = re.search(r"[1-9]\d* requests in|[1-9]\d* 2xx", said)
    if not is_served or "Non-2xx" in said or re.search(r"[1-9]\d* [45]xx", said):
        raise SystemExit(f"benches/profile_guided: {base} does not serve: {said}")


def load_applications(program, folder, seconds):
    for app in servers.APPLICATIONS:
        for server in servers.of([program], folder, app, 1):
            if server.package == "destrier":
                with Running(server) as running:
                    for connections in (1, 4, 64):
                        running.load(connections, seconds)


if __name__ == "__main__":
    main()
