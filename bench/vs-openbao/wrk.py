"""One measured run of wrk against one server, with what the server's processes used meanwhile."""

import json
import os
import subprocess
from pathlib import Path

from machine import Failed, cpu_seconds, family, need

HERE = Path(__file__).resolve().parent


class Wrk:
    def __init__(self, count, size):
        self.binary = need("wrk", "wrk")
        self.about = {"BENCH_COUNT": str(count), "BENCH_SIZE": str(size)}
        # wrk ends with status 1 when it is asked for its version.
        told = subprocess.run([self.binary, "-v"], capture_output=True, text=True).stdout
        self.version = told.split()[1] if told else "unknown"

    def run(self, peer, kind, connections, seconds, warm_up=1, refusals=False):
        """Successes a second, latencies in ms, processor time a success in us. Raises `Failed` when
        a single answer was none, unless `refusals` (answers of 400 and above) are to be counted."""
        if warm_up:
            self.once(peer, kind, connections, warm_up)
        pids = family(peer.child.pid)
        before = cpu_seconds(pids)
        seen = self.once(peer, kind, connections, seconds)
        used = cpu_seconds(pids) - before
        failed = seen["errors"].pop("status") if refusals else 0
        errors = sum(seen["errors"].values())
        successes = seen["requests"] - failed
        if errors or not successes:
            raise Failed(
                f"{peer.name}: {kind} at {connections} connections: {errors} of "
                f"{seen['requests']} requests failed: {seen['errors']}; the run does not count"
            )
        took = seen["microseconds"] / 1e6
        return {
            "per_second": round(successes / took, 1),
            "p50_ms": round(seen["p50"] / 1000, 3),
            "p99_ms": round(seen["p99"] / 1000, 3),
            "max_ms": round(seen["max"] / 1000, 3),
            "cpu_us": round(used * 1e6 / successes, 1),
            "cores": round(used / took, 2),
            "requests": seen["requests"],
            "refused": failed,
        }

    def once(self, peer, kind, connections, seconds):
        # One thread of wrk makes more requests than any of the servers answers here, and leaves
        # them the most of the processors.
        ran = subprocess.run(
            [self.binary, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
             "-s", HERE / "load.lua", peer.base],
            env={**os.environ, **self.about, **peer.load(kind)},
            capture_output=True, text=True,
        )
        for line in ran.stdout.splitlines():
            if line.startswith("BENCH "):
                return json.loads(line.removeprefix("BENCH "))
        raise Failed(f"wrk against {peer.name}: {ran.stdout}{ran.stderr}")
