"""What Linux says of a process: its memory and its processor time; and ports, and packages."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """The run can't go on, or does not count; the message says why."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def until(ready, what, child, seconds=60):
    """Waits until `ready()` is true, and not longer than the process lives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return
        if child.poll() is not None:
            raise Failed(f"{what} ended at its start with status {child.returncode}")
        time.sleep(0.05)
    raise Failed(f"{what} was not ready within {seconds} s")


def family(pid):
    """A process and all its descendants."""
    everybody = [pid]
    for one in everybody:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                everybody += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return everybody


def cpu_seconds(pids):
    """User and system time of processes, without children that have ended."""
    ticks = 0
    for pid in pids:
        # The name may hold spaces and brackets; what follows the last one are fields 3 and on.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def memory_mb(pids, field):
    """`VmRSS` or `VmHWM`, summed, in MB of 1,000,000 bytes."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                total += int(line.split()[1]) * 1024
    return round(total / 1e6, 1)


def need(command, package):
    """The path of a program, from Debian if it is missing."""
    path = shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path:
        return path
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failed(f"`{command}` is missing: apt-get install {package}")
    say(f"installing {package}")
    policy = Path("/usr/sbin/policy-rc.d")  # Debian's switch against starting services
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        quiet = {"check": True, "stdout": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update", "-qq"], **quiet)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        subprocess.run(install, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, **quiet)
    finally:
        if ours:
            policy.unlink(missing_ok=True)
    return need(command, package)


def stop(child, seconds=30):
    """SIGTERM, and SIGKILL when that does not help."""
    if child is None or child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
