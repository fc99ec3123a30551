"""Which names a database may have: they become parts of paths, hosts and namespaces."""

import re

from freehold.errors import Conflict, InvalidInput, NotFound

_NAME = re.compile(r"[a-z0-9-]{1,63}")


def is_name(text: str) -> bool:
    """Whether a database may have this name."""
    return _NAME.fullmatch(text) is not None


def check_name(database_name: str) -> str:
    """The name, if it may become part of a path.

    Raises:
        InvalidInput: it is not of `[a-z0-9-]{1,63}`.
    """
    if not is_name(database_name):
        raise InvalidInput("a database name has 1 to 63 characters out of a-z, 0-9 and -")
    return database_name


def missing(database_name: str) -> NotFound:
    """The error for a database that does not exist."""
    return NotFound(f"database `{database_name}` does not exist")


def taken(database_name: str) -> Conflict:
    """The error for a name that another database has."""
    return Conflict(f"database `{database_name}` exists already; choose another name")
