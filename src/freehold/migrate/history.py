"""All migrations in order, and what is worked out from them once for however many databases get them."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from freehold.migrate.check import require_order, require_sound
from freehold.migrate.plan import ROUND_TRIP_CHARS, Planned, plan
from freehold.migrate.types import Migration, chains
from freehold.migrate.views import with_look

_REMEMBERED = 16  # a fleet is at a few versions mostly


class History:
    """`links` are the chains; both start at version 1."""

    def __init__(self, migrations: Sequence[Migration]) -> None:
        """Raises `BadMigration` unless they are version 1, 2, 3 and so on."""
        require_order(migrations)
        self.migrations = tuple(migrations)
        self.links = chains(migrations)
        self.round_trips = lru_cache(_REMEMBERED)(self._round_trips)

    def _round_trips(
        self, after: int, to: int, *, together: bool, looks: bool = False
    ) -> tuple[tuple[Planned, ...], ...]:
        """What to send in each round trip for the versions above `after` up to `to`; `together` as `plan` has it.

        With `looks` none begins whose ALTER meets views or triggers.

        Raises:
            BadMigration: one of them is not sound.
        """
        require_sound(self.migrations[after:to])
        planned = plan(self.migrations, self.links, after, to, together=together)
        return tuple(_divided([with_look(one) for one in planned] if looks else planned))


def _divided(planned: Sequence[Planned]) -> Iterator[tuple[Planned, ...]]:
    """Each part stays below the limit, or is one batch."""
    part: list[Planned] = []
    chars = 0
    for one in planned:
        chars += one.chars
        if part and chars > ROUND_TRIP_CHARS:
            yield tuple(part)
            part, chars = [], one.chars
        part.append(one)
    if part:
        yield tuple(part)
