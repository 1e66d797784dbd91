"""Pentad's side: a store of its own, the embedded one, plain HTTP on loopback, every setting at its
default, every read and write on record with an fsync before it is answered."""

import json
import os
import re
import subprocess

from http_json import Http
from machine import Failed, stop, until
from values import value

ROLE = "operator"


class Pentad:
    name = "pentad"

    def __init__(self, binary, dir):
        self.binary, self.dir, self.child = binary, dir, None
        ran = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
        self.version = ran.stdout.split()[-1]

    def start(self, files_below=None):
        self.dir.mkdir(parents=True)
        store = self.dir / "store"
        # Nothing of the caller's own Pentad: its server, its settings, its store.
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PENTAD_", "OTEL_"))}
        made = subprocess.run(
            [self.binary, "--dir", store, "init"], env=env, capture_output=True, text=True
        )
        token = re.search(r"pntd_[A-Za-z0-9_.-]+", made.stdout)
        if made.returncode or not token:
            raise Failed(f"pentad init: {made.stderr}")
        self.log = open(self.dir / "server.log", "wb")
        self.child = subprocess.Popen(
            [self.binary, "--dir", store, "server", "--listen", "127.0.0.1:0"],
            env=env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )
        address = store / "address"
        until(address.exists, "pentad", self.child)
        self.base = address.read_text().strip()
        self.admin = Http(self.base, {"Authorization": f"Bearer {token[0]}"})
        # Not with the administrator's token: both servers decide by an ordinary role.
        issued = self.admin.post("/v1/tokens", {"name": "bench", "roles": [ROLE]})
        self.token = issued["token"]
        self.client = Http(self.base, {"Authorization": f"Bearer {self.token}"})

    def preload(self, count, size):
        for first in range(0, count, 500):
            operations = [
                {"op": "put", "path": f"bench/{key:05}", "kind": "secret", "value": value(size)}
                for key in range(first, min(first + 500, count))
            ]
            answer = self.client.post("/v1/batch", {"operations": operations})
            if answer["failed"]:
                problem = next(r for r in answer["results"] if "problem" in r)
                raise Failed(f"pentad: preloading: {json.dumps(problem['problem'])}")

    def load(self, kind):
        """What load.lua is told."""
        reads = kind == "read"
        return {
            "BENCH_METHOD": "GET" if reads else "PUT",
            "BENCH_PATH": "/v1/values/bench/%05d" if reads else "/v1/credentials/bench/%05d",
            "BENCH_BODY": "" if reads else '{"value":"%s"}',
            "BENCH_HEADER": "Authorization",
            "BENCH_TOKEN": f"Bearer {self.token}",
        }

    def read(self, key):
        return self.client.get(f"/v1/values/bench/{key:05}")["value"]

    def version_of(self, key):
        return self.client.get(f"/v1/credentials/bench/{key:05}")["current"]

    def stop(self):
        stop(self.child)
