"""What the engine said of a migration's statements, one after the other."""

from collections.abc import Mapping

from msgspec import Struct

from freehold.migrate.schema import ForeignKey


class Keys(Struct, frozen=True):
    """Foreign keys by their table in lower case: those that cannot be kept, and those without an index."""

    broken: Mapping[tuple[str, ForeignKey], str] = {}
    unindexed: frozenset[tuple[str, ForeignKey]] = frozenset()


class Walked(Struct, frozen=True):
    """By the number of a statement: strings in double quotes, what it did not make, and views that it rewrote."""

    strings: Mapping[int, tuple[str, ...]] = {}
    unmade: Mapping[int, str] = {}
    rewritten: Mapping[int, tuple[str, ...]] = {}
    keys: Keys = Keys()
