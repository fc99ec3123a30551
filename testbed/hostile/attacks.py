"""What hostile people do, as a table: one more attack is one more row in `sql.py`, `bytes_.py`, `people.py`,
`accounts.py` or `aged.py`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from testbed.hostile.tenant import Hostile


@dataclass(frozen=True)
class Attack:
    """`go` does it once and gives its outcome in a word; `never` are outcomes that would be a success.

    Without one of `shows`, if there are any, it was not really tried. Rows that are played `at_strict` are left out
    where there is no such service.
    """

    name: str
    go: Callable[[Hostile], Awaitable[str]]
    never: frozenset[str] = frozenset()
    shows: frozenset[str] = frozenset()
    at_strict: bool = False

    def is_tried(self, outcomes: Mapping[str, int]) -> bool:
        """Whether these outcomes show that somebody came to it, and saw the end."""
        seen = set(outcomes)
        return bool(seen) and (not self.shows or bool((self.shows | self.never) & seen))


def all_attacks() -> tuple[Attack, ...]:
    """Every row of every table."""
    from testbed.hostile import accounts, aged, bytes_, people, sql

    found = (*sql.ATTACKS, *bytes_.ATTACKS, *people.ATTACKS, *accounts.ATTACKS, *aged.ATTACKS)
    names = [each.name for each in found]
    assert len(names) == len(set(names)), "two attacks have one name"
    return found
