"""What hostile people do, as a table: one more attack is one more row in `sql.py`, `bytes_.py`, `people.py` or
`accounts.py`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.hostile.tenant import Hostile


@dataclass(frozen=True)
class Attack:
    """`go` does it once and gives its outcome in a word; `never` are outcomes that would be a success."""

    name: str
    go: Callable[[Hostile], Awaitable[str]]
    never: frozenset[str] = frozenset()


def all_attacks() -> tuple[Attack, ...]:
    """Every row of every table."""
    from tests.hostile import accounts, bytes_, people, sql

    found = (*sql.ATTACKS, *bytes_.ATTACKS, *people.ATTACKS, *accounts.ATTACKS)
    names = [each.name for each in found]
    assert len(names) == len(set(names)), "two attacks have one name"
    return found
