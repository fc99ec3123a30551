"""All migrations in order, what is worked out from them once for however many databases get them, and how the
registry's own batches are told from all others.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from freehold.libsql.protocol import Batch, BatchStep, Integer
from freehold.migrate.check import require_order, require_sound
from freehold.migrate.ledger import INSERT_START, insert_stmt
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


# Tells the registry's own batches from all others, by making them again and comparing.
#
# What a batch says of itself is taken for nothing but its place in the history; the batch for that place is built
# from the published migrations, and the two must be the same: statements, arguments, conditions, and nothing
# besides. The ledger's constraints see to the rest: such a batch applies its versions to the database that is at
# the one before, or changes nothing.

_FIRST_ARGS = 5  # of the ledger's first row
_NEXT_ARGS = 6  # of any other
_REMEMBERED_PLACES = 256


class PublishedBatches:
    """The batches by which appliers bring a database to the versions of one history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._made = lru_cache(_REMEMBERED_PLACES)(self._make)

    def includes(self, batch: Batch) -> bool:
        """Whether the batch is one of them. Quick, but for the first look at a long migration."""
        place = _place(batch.steps)
        if place is None:
            return False
        after, to = place
        if not after < to <= len(self.history.migrations) or not self._has_ledger_row(batch.steps, after, to):
            return False
        return any(_is_same(batch, made) for made in self._made(after, to))

    def _has_ledger_row(self, steps: Sequence[BatchStep], after: int, to: int) -> bool:
        """A look that costs little before the batch is made."""
        expected = insert_stmt(self.history.migrations[after:to], self.history.links)
        return any(step.stmt.sql == expected.sql and step.stmt.args == expected.args for step in steps[:4])

    def _make(self, after: int, to: int) -> tuple[Batch, ...]:
        """Every form in which clients have sent these versions as one batch. Add to them, and never take one away:
        those clients are in the field."""
        migrations, links = self.history.migrations, self.history.links
        planned = plan(migrations, links, after, to, together=True)
        return (planned[0].batch,) if len(planned) == 1 else ()


def _place(steps: Sequence[BatchStep]) -> tuple[int, int] | None:
    """The version before, and the last one, that the first row for the ledger claims."""
    for step in steps[:4]:
        stmt = step.stmt
        if stmt.sql is None or not stmt.sql.startswith(INSERT_START) or not stmt.args:
            continue
        first = stmt.args[0]
        if not isinstance(first, Integer) or not (first.value.isdecimal() and len(first.value) <= 4):
            return None
        version = int(first.value)
        more, rest = divmod(len(stmt.args) - (_FIRST_ARGS if version == 1 else _NEXT_ARGS), _NEXT_ARGS)
        return (version - 1, version + more) if version > 0 and more >= 0 and not rest else None
    return None


def _is_same(batch: Batch, made: Batch) -> bool:
    return len(batch.steps) == len(made.steps) and all(
        step.stmt.sql == own.stmt.sql
        and step.stmt.sql_id is None
        and step.stmt.args == own.stmt.args
        and not step.stmt.named_args
        and step.condition == own.condition
        for step, own in zip(batch.steps, made.steps, strict=True)
    )
