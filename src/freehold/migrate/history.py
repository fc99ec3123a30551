"""All migrations in order, the batches built from them, and how the registry's own batches are recognised."""

from collections.abc import Sequence
from functools import lru_cache

from freehold.libsql.protocol import Batch, BatchStep, Integer
from freehold.migrate.check import require_order, require_sound
from freehold.migrate.ledger import INSERT_START, insert_stmt
from freehold.migrate.plan import ROUND_TRIP_CHARS, Planned, divided, plan
from freehold.migrate.types import Migration, chains
from freehold.migrate.views import with_look

_REMEMBERED = 16  # a fleet is mostly at a few versions


class History:
    """`links` are the chains; both start at version 1."""

    def __init__(self, migrations: Sequence[Migration]) -> None:
        """Raises `BadMigration` unless they are versions 1, 2, 3 and so on."""
        require_order(migrations)
        self.migrations = tuple(migrations)
        self.links = chains(migrations)
        self.round_trips = lru_cache(_REMEMBERED)(self._round_trips)

    def _round_trips(
        self, after: int, to: int, *, together: bool, looks: bool = False
    ) -> tuple[tuple[Planned, ...], ...]:
        """What to send in each round trip for the versions above `after` up to `to`; `together` as in `plan`.

        With `looks`, no transaction with an ALTER begins if the database has views or triggers.

        Raises:
            BadMigration: one of the migrations is not sound.
        """
        require_sound(self.migrations[after:to])
        planned = plan(self.migrations, self.links, after, to, together=together)
        looking = map(with_look, planned) if looks else planned
        return tuple(map(tuple, divided(looking, lambda one: one.chars, ROUND_TRIP_CHARS)))


# Recognises the registry's own batches by building them again and comparing.
#
# Only a batch's place in the history is taken from the batch itself. The batch for that place is built from the
# published migrations, and the two must be the same: statements, arguments, conditions, and nothing besides. The
# ledger's constraints do the rest: such a batch applies its versions to a database that is at the version before, or
# changes nothing.

_FIRST_ARGS = 5  # of the ledger's first row
_NEXT_ARGS = 6  # of any other
_REMEMBERED_PLACES = 256


class PublishedBatches:
    """The batches with which appliers bring a database to the versions of one history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._made = lru_cache(_REMEMBERED_PLACES)(self._make)

    def includes(self, batch: Batch) -> bool:
        """Whether the batch is one of them. Quick, except for the first look at a long migration."""
        place = _place(batch.steps)
        if place is None:
            return False
        after, to = place
        if not after < to <= len(self.history.migrations):
            return False
        # A cheap check before the batch is built.
        expected = insert_stmt(self.history.migrations[after:to], self.history.links)
        if not any((step.stmt.sql, step.stmt.args) == (expected.sql, expected.args) for step in batch.steps[:4]):
            return False
        return any(_is_same(batch, made) for made in self._made(after, to))

    def _make(self, after: int, to: int) -> tuple[Batch, ...]:
        """Every form in which clients sent these versions as one batch. Never remove one: they are in the field."""
        planned = plan(self.history.migrations, self.history.links, after, to, together=True)
        return (planned[0].batch,) if len(planned) == 1 else ()


def _place(steps: Sequence[BatchStep]) -> tuple[int, int] | None:
    """The version before and the last version, according to the batch's first ledger row; None if it has none."""
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
