"""What was seen when a migration ran on rows."""

from msgspec import Struct


class Loss(Struct, frozen=True):
    """What becomes of one table, named in lower case, in words. `is_replaced`: by another table of that name."""

    table: str
    reason: str
    is_replaced: bool = True


class Observed(Struct, frozen=True):
    """Losses of rows and values, tables renumbered whose row numbers something knows, stale full-text tables.

    `changes` are values that were turned into others, or rows that a DELETE took, as the migration says itself.
    """

    losses: tuple[Loss, ...] = ()
    renumbered: tuple[Loss, ...] = ()
    stale: tuple[Loss, ...] = ()
    changes: tuple[Loss, ...] = ()
