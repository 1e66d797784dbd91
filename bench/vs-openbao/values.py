"""Values for secrets: random, so that no server can treat two alike."""

import secrets
import string

ALPHABET = string.ascii_letters + string.digits + "-_"


def value(size):
    return "".join(secrets.choice(ALPHABET) for _ in range(size))
