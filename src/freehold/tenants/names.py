"""Names of tenant databases: unguessable, chosen before any provider is asked, and recognisable as ours."""

import re
import secrets

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # what every provider takes in a name
_OURS = re.compile(r"t-[a-z2-7]{26}")


def new_database_name() -> str:
    """A name that no other database has."""
    return "t-" + "".join(secrets.choice(_ALPHABET) for _ in range(26))


def is_ours(database_name: str) -> bool:
    """Whether it looks like a name that Freehold chose. Others share the provider and are never touched."""
    return _OURS.fullmatch(database_name) is not None
