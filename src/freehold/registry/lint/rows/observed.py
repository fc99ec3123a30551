"""What was seen when a migration ran on rows."""

from msgspec import Struct


class Loss(Struct, frozen=True):
    """What becomes of one table, named in lower case, in words."""

    table: str
    reason: str


class Observed(Struct, frozen=True):
    """Losses of rows and values, tables renumbered whose row numbers something knows, stale full-text tables."""

    losses: tuple[Loss, ...] = ()
    renumbered: tuple[Loss, ...] = ()
    stale: tuple[str, ...] = ()
