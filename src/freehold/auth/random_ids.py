"""Random ids and session tokens."""

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits


def random_id(length: int = 32) -> str:
    """Random characters of `a-zA-Z0-9`; 32 of them, 190 bits, for row ids and session tokens."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
