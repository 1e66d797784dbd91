"""The PostgreSQL server of scripts/services.sh, and the roles whose passwords are rotated there."""

import base64
import hashlib
import hmac
import os
import secrets
import subprocess
from pathlib import Path

from machine import Failed, need
from values import value

def verifier(password):
    """SCRAM-SHA-256 as PostgreSQL keeps it, so that its statement log never has a password."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 4096)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode()
            for part in (salt, hashlib.sha256(client).digest(), server)]
    return f"SCRAM-SHA-256$4096:{text[0]}${text[1]}:{text[2]}"


class Postgres:
    def __init__(self, root):
        services = root / "scripts/services.sh"
        subprocess.run([services, "up", "postgres"], check=True, stdout=subprocess.DEVNULL)
        told = subprocess.run([services, "env"], check=True, capture_output=True, text=True).stdout
        env = dict(line.removeprefix("export ").split("=", 1) for line in told.splitlines())
        self.address = env["PENTAD_TEST_POSTGRES_ADDR"]
        self.admin = env["PENTAD_TEST_POSTGRES_ADMIN"]
        self.password = Path(env["PENTAD_TEST_POSTGRES_PASSWORD_FILE"]).read_text().strip()
        self.psql = need("psql", "postgresql-client")
        self.run = secrets.token_hex(4)
        self.made = []

    def sql(self, text, user=None, password=None):
        host, port = self.address.rsplit(":", 1)
        env = {**os.environ, "PGPASSWORD": password or self.password, "PGCONNECT_TIMEOUT": "10"}
        return subprocess.run(
            [self.psql, "-qXAt", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port,
             "-U", user or self.admin, "postgres"],
            input=text, env=env, capture_output=True, text=True,
        )

    def version(self):
        return self.sql("SHOW server_version").stdout.split()[0]

    def roles(self, whose, count):
        """Makes as many roles, each with a password."""
        made = [(f"bench_{self.run}_{whose}_{number:05}", value(32)) for number in range(count)]
        self.made += [name for name, _ in made]
        ran = self.sql("\n".join(
            f"CREATE ROLE {name} LOGIN PASSWORD '{verifier(password)}';" for name, password in made
        ))
        if ran.returncode:
            raise Failed(f"PostgreSQL: {ran.stderr.splitlines()[0]}")
        return made

    def logs_in(self, role, password):
        return self.sql("SELECT 1", role, password).returncode == 0

    def drop(self):
        if self.made:
            self.sql("\n".join(f"DROP ROLE IF EXISTS {name};" for name in self.made))
