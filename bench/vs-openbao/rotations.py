"""The same number of roles at the same PostgreSQL server, rotated by both, each at the concurrency
that suits it best."""

import random
from statistics import median

from machine import Failed, say

CONCURRENCIES = (4, 8, 16, 32)


def compare(given, wrk, peers, postgres):
    """Medians of rotations a second and microseconds of processor a rotation, by name."""
    names = {}
    for peer in peers:
        roles = postgres.roles(peer.name, given.roles)
        names[peer.name] = [name for name, _ in roles]
        say(f"{peer.name}: takes over {given.roles} roles")
        peer.prepare_rotations(postgres, roles)
    best = {}
    for peer in peers:
        tried = {c: peer.rotate(wrk, c, max(1, given.seconds // 2))["per_second"] for c in CONCURRENCIES}
        best[peer.name] = max(tried, key=tried.get)
        say(f"{peer.name}: rotations a second by concurrency: {tried}")
    seen = {}
    for _ in range(given.rounds):
        for peer in peers:
            one = peer.rotate(wrk, best[peer.name], given.seconds)
            say(f"{peer.name:>8} rotates {one['per_second']:>7,.1f}/s, "
                f"{one['cpu_us']:,.0f} us of its processor each")
            seen.setdefault(peer.name, []).append(one)
    for peer in peers:
        for name in random.sample(names[peer.name], min(20, given.roles)):
            if not postgres.logs_in(name, peer.password(name)):
                raise Failed(f"{peer.name}: the password that it has for {name} does not log in")
    return {
        name: {
            "rotations_per_second": round(median(one["per_second"] for one in rounds), 1),
            "rotation_cpu_us": round(median(one["cpu_us"] for one in rounds), 1),
            "rotation_concurrency": best[name],
            "rotations_failed": sum(one["failed"] for one in rounds),
        }
        for name, rounds in seen.items()
    }
