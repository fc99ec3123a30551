"""Databases that sqld cannot open, as a file beside their data is damaged: told by its words, and remembered.

Source: sqld 0.24.32, by cutting, overwriting and emptying those files after `kill -9`. It answers 500 to every call
for such a namespace, for ever, and serves the others.
"""

import re
from collections.abc import Iterator

from freehold.log import get_logger
from freehold.tenants.errors import DatabaseDamaged

log = get_logger()

_MOST = 1_000
_INTERNAL = re.compile(r"Internal Error: `(.*)`", re.DOTALL)
# The replication log is written without being synced (before 0.24.33), the statistics always are.
_SIGNS = {
    "wallog": re.compile(
        r"failed to fill whole buffer|invalid replication log header|Invalid argument \(os error 22\)"
    ),
    "stats.json": re.compile(r"[^`]{1,100} at line \d+ column \d+|stream did not contain valid UTF-8"),
}


def damage_in(message: str) -> DatabaseDamaged | None:
    """What to raise if this error of sqld's says that it cannot open the database."""
    internal = _INTERNAL.fullmatch(message)
    if internal is None:
        return None
    for file, sign in _SIGNS.items():
        if sign.fullmatch(internal[1]):
            return DatabaseDamaged(internal[1], file)
    return None


class Damages:
    """The databases that were found to be damaged and have not answered since, with what sqld said."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._found))

    def told(self) -> dict[str, str]:
        """By name, what sqld said."""
        return dict(self._found)

    def note(self, database_name: str, error: Exception) -> None:
        """Remember it if the error says so, and say it in the log the first time."""
        if not isinstance(error, DatabaseDamaged) or database_name in self._found:
            return
        log.error("database.damaged", database=database_name, file=error.file, reason=error.reason)
        if len(self._found) < _MOST:
            self._found[database_name] = error.reason

    def forget(self, database_name: str) -> None:
        """It answers again, or is gone."""
        if self._found.pop(database_name, None) is not None:
            log.info("database.answers_again", database=database_name)
