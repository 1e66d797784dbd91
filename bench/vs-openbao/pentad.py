"""Pentad's side: a store of its own, the embedded one, plain HTTP on loopback, every setting at its
default, every read and write on record with an fsync before it is answered."""

import json
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from http_json import Http
from machine import Failed, cpu_seconds, family, stop, until
from values import value

ROLE = "operator"


class Pentad:
    name = "pentad"

    def __init__(self, binary, dir):
        self.binary, self.dir, self.child = binary, dir, None
        ran = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
        self.version = ran.stdout.split()[-1]

    def start(self):
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

    def answer(self, key):
        """The bytes of an answer to a read."""
        return self.client.fetch("GET", f"/v1/values/bench/{key:05}")

    def value(self, key):
        return json.loads(self.answer(key))["value"]

    def records(self):
        """How many requests are on record."""
        return self.admin.get("/v1/audit/checkpoint")["size"]

    # ---- rotations ----------------------------------------------------------------------------------

    def prepare_rotations(self, postgres, roles):
        """Takes the roles over: each value is seen to log in, and a random one not to."""
        self.postgres = postgres
        admin = {"kind": "database", "value": postgres.password, "accept_weak": True}
        self.client.put("/v1/credentials/bench-admin", admin)
        self.paths = [f"rotated/{name}" for name, _ in roles]

        def adopt(role):
            name, password = role
            binding = {"target": "pg", "account": name, "strategy": "in_place", "owned": True}
            body = {"kind": "database", "value": password, "binding": binding}
            self.client.post(f"/v1/adopt/rotated/{name}", body)

        self.at_once(16)
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(adopt, roles):
                pass

    def at_once(self, concurrency):
        """How many rotations run at the server at the same time."""
        target = {
            "system": "postgresql", "address": self.postgres.address, "tls": "plain",
            "admin_account": self.postgres.admin, "admin_credential": "bench-admin",
            "concurrency": concurrency,
        }
        self.client.put("/v1/targets/pg", target)

    def rotate(self, wrk, concurrency, seconds):
        """All roles in one request, as often as fits into the time; each new value has logged in
        before it counts. One that fails ends the run."""
        self.at_once(concurrency)
        pids = family(self.child.pid)
        before, begun, batches = cpu_seconds(pids), time.monotonic(), []
        while time.monotonic() - begun < seconds or not batches:
            started = self.client.post("/v1/rotations", {"paths": self.paths})
            if started["refused"]:
                raise Failed(f"pentad: rotation refused: {started['refused'][0]}")
            batches.append(f"/v1/rotations?batch={started['batch']}")
            while self.client.get(f"{batches[-1]}&unfinished=true&limit=1")["items"]:
                time.sleep(0.01)
        took, used = time.monotonic() - begun, cpu_seconds(pids) - before
        count = sum(self.ended_well(batch) for batch in batches)
        return {
            "per_second": round(count / took, 1),
            "cpu_us": round(used * 1e6 / count, 1),
            "failed": 0,
        }

    def ended_well(self, batch):
        done, before = 0, ""
        while before is not None:
            page = self.client.get(f"{batch}&limit=1000{before}")
            for one in page["items"]:
                if one["step"] != "done":
                    raise Failed(f"pentad: a rotation ended as {one['step']}: {json.dumps(one)}")
                done += 1
            before = page["next"] and f"&before={page['next']}"
        if done != len(self.paths):
            raise Failed(f"pentad: {done} rotations of {len(self.paths)}")
        return done

    def password(self, role):
        return self.client.get(f"/v1/values/rotated/{role}")["value"]

    def stop(self):
        stop(self.child)
