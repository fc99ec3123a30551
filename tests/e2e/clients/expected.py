"""What does not work, where, and why: the red cells of the table. A cell that is red without a line here fails."""

import re
from typing import NamedTuple

from tests.e2e.clients.kinds import Outcome
from tests.e2e.clients.places import PLACES, PlaceName


class Red(NamedTuple):
    """`told` is found in what the client says; `why` stands below the table."""

    places: frozenset[PlaceName]
    told: str
    why: str


_EVERYWHERE = frozenset(PLACES)
_FILES: frozenset[PlaceName] = frozenset({"files"})

_DIALECT = (
    "Files are served by SQLite itself, which has neither `ALTER COLUMN … TO` nor `vector32`: both are libSQL's own. "
    "`freehold registry test` says so of a migration, too."
)
_REPLICAS = "Replicas follow sqld's log; files are not replicated yet."
_NEWER_SYNC = (
    "From 0.1.9 on, this library calls endpoints that Turso's cloud has and sqld does not; the twin runs on sqld, "
    "too. `libsql-experimental` calls sqld's."
)
_NATIVE = (
    "On a remote database this library runs each `exec` by itself, so a BEGIN is gone when the next statement "
    "comes; a bare sqld behaves the same. Its `transaction()` is built on that. Use `@libsql/client`."
)
_WEBSOCKET = (
    "Over HTTP this client, last released in 2024, has no interactive transactions, and Freehold serves no "
    "WebSockets. Use a batch, or `freehold.libsql.client`, which has the same interface."
)
_CODES = (
    "Servers of libSQL report SQLite's primary codes only, so Prisma sees a unique violation as a constraint that "
    "failed, with its message, and not as its own `P2002`."
)

RED: dict[tuple[str, str], Red] = {
    ("libsql_client", "libSQL's own SQL: ALTER COLUMN … TO"): Red(_FILES, 'near "TO": syntax error', _DIALECT),
    ("libsql_client", "libSQL's own SQL: vectors"): Red(_FILES, "no such function: vector32", _DIALECT),
    ("libsql_client_web", "libSQL's own SQL: ALTER COLUMN … TO"): Red(_FILES, 'near "TO": syntax error', _DIALECT),
    ("libsql_client_web", "libSQL's own SQL: vectors"): Red(_FILES, "no such function: vector32", _DIALECT),
    ("prisma", "errors: which constraint"): Red(_EVERYWHERE, "UniqueConstraintViolation", _CODES),
    ("libsql_native", "transaction"): Red(_EVERYWHERE, "no transaction is active", _NATIVE),
    ("libsql_sync", "sync, read, write through"): Red(_FILES, "PrimaryHandshakeTimeout", _REPLICAS),
    ("libsql", "`sync_url`"): Red(_EVERYWHERE, "failed to pull db export: status=404", _NEWER_SYNC),
    ("libsql_experimental", "`sync_url`"): Red(_FILES, "handshake with primary", _REPLICAS),
    ("libsql_client_py", "transaction"): Red(_EVERYWHERE, "TRANSACTIONS_NOT_SUPPORTED", _WEBSOCKET),
}


def surprises(place: PlaceName, found: dict[str, Outcome]) -> list[str]:
    """A line for each cell that is not as it is expected here."""
    lines = []
    for client, outcome in found.items():
        for what, error in outcome.items():
            red = RED.get((client, what))
            is_expected = red is not None and place in red.places
            if error is None and is_expected:
                lines.append(f"{client} on {place}, {what}: works; take it out of expected.py")
            elif error is not None and not (is_expected and red and re.search(red.told, error)):
                lines.append(f"{client} on {place}, {what}: {error}")
    lines += [
        f"{client}, {what}: is in expected.py, and nothing tries it"
        for client, what in RED
        if what not in found.get(client, {})
    ]
    return lines
