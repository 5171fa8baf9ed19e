"""Runs destrier and Django with SimpleJWT on the same database, SQLite and PostgreSQL: shared.py DESTRIER."""

import glob
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from compare import DESTRIER, HERE, PASSWORD, SECRET, Server, read, start

CONFIG = """
server.bind = "127.0.0.1:{port}"
workers.count = 2
process.control_socket = "control.sock"
[auth.tokens]
database = "{database}"
schema = "django"
throttle_account = "off"
{keys}
[[auth.issuer]]
secret_file = "secret"
[[auth.rule]]
path = "/**"
"""
ROTATES = "update_last_login = true\nrotate_refresh_tokens = true\nblacklist_after_rotation = true\nreuse_grace = '0s'\n"
KINDS = ["pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256", "bcrypt", "scrypt", "md5"]
BLACKLISTED = {"detail": "Token is blacklisted", "code": "token_not_valid"}
checks = 0


def equal(found, expected, *what):
    global checks
    checks += 1
    if found != expected:
        raise SystemExit(f"{what}: found {found}, expected {expected}")


class Client(Server):
    def json(self, path, value):
        status, _, body = self.post(path, value)
        return status, json.loads(body)

    def log_in(self, username="alice", password=PASSWORD):
        return self.json("", {"username": username, "password": password})

    def pair(self, username="alice"):
        status, pair = self.log_in(username)
        equal(status, 200, self.name, username, pair)
        return pair

    def refresh(self, token):
        return self.json("refresh/", {"refresh": token})

    def blacklist(self, token):
        return self.json("blacklist/", {"refresh": token})

    def me(self, pair):
        return self.ask("GET", "/me", headers={"Authorization": "Bearer " + pair["access"]})[0]


class Site:
    """A folder with a Django project that was set up."""

    def __init__(self, folder, postgres=None, **options):
        self.folder, self.database = folder, f"sqlite:{folder}/django.db"
        self.environment = os.environ | {"ROTATE": "1", "HASHERS": "1"} | options
        if postgres:
            self.environment["POSTGRES"] = str(postgres)
            self.database = f"postgresql://destrier@/site?host={postgres}"
        self.project = [sys.executable, str(HERE / "project.py"), str(folder)]
        (folder / "secret").write_text(SECRET)
        (folder / "secret").chmod(0o600)

    def init(self):
        subprocess.run([*self.project, "init"], check=True, env=self.environment)

    def show(self):
        shown = subprocess.run([*self.project, "show"], check=True, env=self.environment, capture_output=True).stdout
        return json.loads(shown)

    def user(self, name):
        return next(user for user in self.show()["users"] if user["username"] == name)

    @contextmanager
    def django(self):
        process, port = start([*self.project, "serve", "0"], lambda process: int(process.stdout.readline()),
                              env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            yield Client("django", port)
        finally:
            process.terminate()
            process.wait()

    def configure(self, keys, database=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = self.folder / "destrier.toml"
        config.write_text(CONFIG.format(port=port, keys=keys, database=database or self.database))
        return config, port

    @contextmanager
    def destrier(self, keys):
        config, port = self.configure(keys)
        status = [DESTRIER, "status", "-c", str(config)]
        serves = lambda _: port if b"accepting" in subprocess.run(status, capture_output=True).stdout else None
        log = self.folder / "log"
        try:
            with open(log, "wb") as written:
                process, _ = start([DESTRIER, "run", "-c", str(config)], serves, stderr=written)
            try:
                yield Client("destrier", port)
            finally:
                process.terminate()
                process.wait()
        except SystemExit:
            sys.stdout.write(log.read_text())
            raise

    def refuses_to_boot(self, keys, words, database=None):
        config, _ = self.configure(keys, database)
        run = subprocess.run([DESTRIER, "run", "-c", str(config)], capture_output=True, timeout=60)
        equal((run.returncode, words in run.stderr.decode()), (3, True), words, run.stderr.decode())


def passwords(site, destrier, django):
    for kind in KINDS:
        equal(site.user(kind)["password"].split("$")[0], kind)
        equal(destrier.log_in(kind, "Correct horse")[0], 401, kind)
        # MD5 must be allowed.
        equal(destrier.log_in(kind)[0], 401 if kind == "md5" else 200, kind)
        equal(django.log_in(kind)[0], 200, kind)
    for username in ("gone", "unusable", "nobody"):
        equal(destrier.log_in(username), django.log_in(username), username)


def claims(site, destrier, django):
    before = site.user("scrypt")["last_login"]
    pair = destrier.pair("scrypt")
    equal(read(pair["access"])["roles"], ["editors", "staff"])
    equal(read(destrier.pair("alice")["access"])["roles"], [])
    after = site.user("scrypt")["last_login"]
    equal(abs(after - time.time()) < 10 and after != before, True, before, after)
    # The groups come into a token of Django's too.
    equal(read(destrier.refresh(django.pair("scrypt")["refresh"])[1]["access"])["roles"], ["editors", "staff"])
    for issuer in (destrier, django):
        for server in (destrier, django):
            equal(server.me(issuer.pair()), 200, issuer.name, server.name)


def rows(site, destrier, django):
    token = destrier.pair()["refresh"]
    rotated = destrier.refresh(token)[1]["refresh"]
    rows = {row["jti"]: row for row in site.show()["tokens"]}
    for each in (token, rotated):
        claims = read(each)
        row = rows[claims["jti"]]
        equal(row["token"], each)
        equal((row["created_at"], row["expires_at"], str(row["user_id"])), (claims["iat"], claims["exp"], claims["user_id"]))
    equal(rows[read(token)["jti"]]["blacklistedtoken__blacklisted_at"] is None, False)
    equal(rows[read(rotated)["jti"]]["blacklistedtoken__blacklisted_at"], None)


def life(site, destrier, django):
    servers = (destrier, django)
    for first in servers:
        second = django if first is destrier else destrier
        for blacklister in servers:
            # Blacklisted by one, refused by both, whoever issued it.
            token = first.pair()["refresh"]
            equal(blacklister.blacklist(token), (200, {}), first.name, blacklister.name)
            for server in servers:
                equal(server.refresh(token), (401, BLACKLISTED), first.name, blacklister.name, server.name)
                equal(server.blacklist(token), (401, BLACKLISTED), first.name, blacklister.name, server.name)
                equal(server.json("verify/", {"token": token}), (400, {"non_field_errors": ["Token is blacklisted"]}), server.name)
        # Rotated by one and then the other, each time the old one is refused by both.
        token = first.pair()["refresh"]
        for server in (second, first, first, second, second):
            status, pair = server.refresh(token)
            equal(status, 200, first.name, server.name, pair)
            for other in servers:
                equal(other.me(pair), 200, first.name, server.name, other.name)
            # With destrier last: it takes a second use for theft.
            for other in (django, destrier):
                if server is django or other is django:
                    equal(other.refresh(token), (401, BLACKLISTED), first.name, server.name, other.name)
            token = pair["refresh"]
    # Of a family that destrier ends Django takes nothing either.
    first = destrier.pair()["refresh"]
    second = destrier.refresh(first)[1]["refresh"]
    equal(destrier.refresh(first), (401, BLACKLISTED))
    for server in servers:
        equal(server.refresh(second), (401, BLACKLISTED), server.name)


def upgrades(site, django):
    # Django has replaced what it does not prefer.
    subprocess.run([*site.project, "hash"], check=True, env=site.environment)
    with site.destrier(ROTATES + "upgrade_hashes = true\nallow_md5_hashes = true\n") as destrier:
        for kind in KINDS:
            old = site.user(kind)["password"]
            equal(destrier.log_in(kind, "x")[0], 401)
            equal(site.user(kind)["password"], old, kind)
            destrier.pair(kind)
            new = site.user(kind)["password"]
            equal(new.startswith("pbkdf2_sha256$1000000$"), True, kind, new)
            equal(new == old, kind == "pbkdf2_sha256", kind)
            django.pair(kind)
            destrier.pair(kind)
            # Django is content with it.
            equal(site.user(kind)["password"], new, kind)


def without_blacklist(site):
    site.init()
    with site.destrier("rotate_refresh_tokens = true\ngroups_claim = ''\n") as destrier, site.django() as django:
        for first, second in ((destrier, django), (django, destrier)):
            pair = first.pair()
            equal(second.refresh(pair["refresh"])[0], 200)
            equal(second.blacklist(pair["refresh"]), (200, {}))
            equal(second.refresh(pair["refresh"])[0], 200)
        equal("roles" in read(destrier.pair("scrypt")["access"]), False)
    site.refuses_to_boot(ROTATES, "no tables `token_blacklist_outstandingtoken`")


def sliding(site):
    """One token that refreshes itself, of either server, noted in one table."""
    site.init()
    with site.destrier("kind = 'sliding'\n") as destrier, site.django() as django:
        slide = lambda server, token: server.json("refresh/", {"token": token})
        tokens = {}
        for server in (destrier, django):
            status, pair = server.log_in()
            equal(status, 200, server.name, pair)
            tokens[server.name] = token = pair["token"]
            for other in (destrier, django):
                equal(other.me({"access": token}), 200, server.name, other.name)
                # The same token: what is noted of it counts for all that come of it.
                status, slid = slide(other, token)
                equal((status, read(slid["token"])["jti"]), (200, read(token)["jti"]), server.name, other.name)
        rows = {row["jti"]: row for row in site.show()["tokens"]}
        for name in tokens:
            said = read(tokens[name])
            row = rows[said["jti"]]
            # One that slides at the last moment is valid for five minutes more.
            end = said["refresh_exp"] + 300 if name == "destrier" else said["exp"]
            equal(row["token"], tokens[name])
            equal((int(row["created_at"]), row["expires_at"], str(row["user_id"])), (said["iat"], end, said["user_id"]), name)
        # Blacklisted in Django's table it slides no more, at neither.
        for token in tokens.values():
            subprocess.run([*site.project, "blacklist", read(token)["jti"]], check=True, env=site.environment)
        for server in (destrier, django):
            for name, token in tokens.items():
                equal(slide(server, token), (401, BLACKLISTED), server.name, name)


def other_user_model(site, sql):
    """A site whose AUTH_USER_MODEL is its own: only the names of tables differ, and views have Django's."""
    sql("ALTER TABLE auth_user RENAME TO accounts_person; ALTER TABLE accounts_person RENAME COLUMN username TO login; "
        "ALTER TABLE auth_user_groups RENAME TO accounts_person_groups; ALTER TABLE accounts_person_groups RENAME COLUMN user_id TO person_id")
    site.refuses_to_boot(ROTATES, "make a view `auth_user`")
    sql("CREATE VIEW auth_user AS SELECT id, login AS username, password, is_active, last_login FROM accounts_person; "
        "CREATE VIEW auth_user_groups AS SELECT person_id AS user_id, group_id FROM accounts_person_groups; "
        "UPDATE accounts_person SET last_login = NULL")
    with site.destrier(ROTATES + "upgrade_hashes = true\n") as destrier:
        pair = destrier.pair("scrypt")
        equal(read(pair["access"])["roles"], ["editors", "staff"])
        equal(destrier.refresh(pair["refresh"])[0], 200)
        equal(destrier.log_in("nobody")[0], 401)
    equal(sql("SELECT last_login IS NOT NULL AND password LIKE 'pbkdf2_sha256$%' FROM accounts_person WHERE login = 'scrypt'"), "t")
    sql("DROP VIEW auth_user, auth_user_groups; ALTER TABLE accounts_person RENAME COLUMN login TO username; "
        "ALTER TABLE accounts_person RENAME TO auth_user; ALTER TABLE accounts_person_groups RENAME COLUMN person_id TO user_id; "
        "ALTER TABLE accounts_person_groups RENAME TO auth_user_groups")


def run(postgres=None):
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), postgres)
        site.init()
        with site.django() as django:
            with site.destrier(ROTATES) as destrier:
                for test in (passwords, claims, rows, life):
                    test(site, destrier, django)
                config = str(site.folder / "destrier.toml")
                listed = subprocess.run([DESTRIER, "user", "list", "-c", config], capture_output=True, text=True)
                equal((listed.returncode, "manage.py" in listed.stderr), (1, True), listed)
            upgrades(site, django)


@contextmanager
def cluster():
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [str(Path(shutil.which("initdb")).parent)]
    # It refuses to run as root.
    user = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    keeper = subprocess.Popen([*user, "sh", "-c", (HERE.parent / "postgres.sh").read_text(), "sh", programs[-1]],
                              cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    folder = Path(keeper.stdout.readline().strip())

    def sql(statement, database="site"):
        done = subprocess.run([f"{programs[-1]}/psql", "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-h", folder, "-U", "destrier",
                               "-d", database, "-c", statement], check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    try:
        yield folder, sql
    finally:
        keeper.stdin.close()
        keeper.wait()


run()
with tempfile.TemporaryDirectory() as folder:
    without_blacklist(Site(Path(folder), BLACKLIST="0", ROTATE="0"))
with tempfile.TemporaryDirectory() as folder:
    sliding(Site(Path(folder), SLIDING="1", ROTATE="0"))
with tempfile.TemporaryDirectory() as folder:
    site = Site(Path(folder))
    site.refuses_to_boot("", "unable to open database file")
    (site.folder / "django.db").touch()
    site.refuses_to_boot("", "there is no table `auth_user`")
with cluster() as (folder, sql):
    sql("CREATE DATABASE site", "postgres")
    run(folder)
    with tempfile.TemporaryDirectory() as here:
        other_user_model(Site(Path(here), folder), sql)
    sql("DROP TABLE destrier_refresh_tokens")
    sql("CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader; REVOKE CREATE ON SCHEMA public FROM public")
    with tempfile.TemporaryDirectory() as here:
        site = Site(Path(here), folder)
        site.refuses_to_boot("", "CREATE TABLE IF NOT EXISTS destrier_refresh_tokens (", site.database.replace("destrier@", "reader@"))
print(f"{checks} checks on one database with Django, none failed")
