"""Names of tenant databases: unguessable, chosen before the provider is called, and recognisable as ours."""

import re
import secrets

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # allowed in names by every provider
_OURS = re.compile(r"t-[a-z2-7]{26}")


def new_database_name() -> str:
    """Return a new unique name."""
    return "t-" + "".join(secrets.choice(_ALPHABET) for _ in range(26))


def is_ours(database_name: str) -> bool:
    """Return whether Freehold chose this name. Databases of others at the same provider are never touched."""
    return _OURS.fullmatch(database_name) is not None
