"""One migration as the rules see it: its statements, the schema before and after, and what happened as it ran."""

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property

import sqlglot
from msgspec import Struct
from sqlglot import exp
from sqlglot.errors import SqlglotError

from freehold.migrate.canonical import canonical, unwrapped
from freehold.migrate.names import folded
from freehold.migrate.schema import EMPTY, ForeignKey, Schema
from freehold.migrate.split import Statement
from freehold.migrate.table_text import lexed
from freehold.migrate.types import Migration
from freehold.registry.release import Release, release_of

# It warns about every trigger, none of which it parses. The rules skip triggers too, because they run later.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

_OF_DATA = {"insert", "update", "delete", "replace", "with"}


class Loss(Struct, frozen=True):
    """What happens to one table (lower case), in words. `is_replaced`: another table took its name."""

    table: str
    reason: str
    is_replaced: bool = True


class Observed(Struct, frozen=True):
    """What happened when a migration ran on rows: lost rows and values, and stale full-text tables.

    `renumbered` lists tables whose rowids something uses. `changes` are updates and deletions that the migration
    states.
    """

    losses: tuple[Loss, ...] = ()
    renumbered: tuple[Loss, ...] = ()
    stale: tuple[Loss, ...] = ()
    changes: tuple[Loss, ...] = ()


class Keys(Struct, frozen=True):
    """Foreign keys by their table (lower case): those that cannot work, and those without an index."""

    broken: Mapping[tuple[str, ForeignKey], str] = {}
    unindexed: frozenset[tuple[str, ForeignKey]] = frozenset()


class Walked(Struct, frozen=True):
    """The engine's answers by statement number.

    These are double-quoted strings, objects that IF NOT EXISTS did not create, and views that it rewrote.
    """

    strings: Mapping[int, tuple[str, ...]] = {}
    unmade: Mapping[int, str] = {}
    rewritten: Mapping[int, tuple[str, ...]] = {}
    keys: Keys = Keys()


class Parsed(Struct, frozen=True, dict=True):
    """One statement. `words` are its canonical words; `tree` is None if the parser does not support it."""

    number: int
    piece: Statement

    @cached_property
    def words(self) -> tuple[str, ...]:
        return canonical(self.piece.sql)

    @property
    def is_data(self) -> bool:
        """Whether it changes rows, not definitions."""
        return self.words[0] in _OF_DATA

    @cached_property
    def tree(self) -> exp.Expr | None:
        try:
            found = sqlglot.parse_one(self.piece.sql, dialect="sqlite")
        except (SqlglotError, RecursionError):
            return None
        return None if isinstance(found, exp.Command | exp.Block) else found

    @property
    def written(self) -> str:
        """The table (lower case) whose rows an INSERT, UPDATE or DELETE changes; else empty."""
        tree = self.tree
        if not isinstance(tree, exp.Insert | exp.Update | exp.Delete):
            return ""
        table = tree.this if isinstance(tree.this, exp.Table) else tree.find(exp.Table)
        return folded(table.name) if table else ""

    @property
    def renamed(self) -> tuple[str, str]:
        """Old and new name (lower case) of a renamed table; else empty."""
        words = self.words
        if words[:2] != ("alter", "table") or words[-3:-1] != ("rename", "to"):
            return "", ""
        return unwrapped(words[-4]), unwrapped(words[-1])

    @property
    def renamed_column(self) -> tuple[str, str, str]:
        """Table, old and new name (lower case) of a renamed column; else empty."""
        table, action = self._altered
        if action[:1] != ("rename",) or self.renamed[0]:
            return "", "", ""
        return table, unwrapped(action[-3]), unwrapped(action[-1])

    @property
    def added_column(self) -> tuple[str, str]:
        """Table and name (lower case) of an added column; else empty."""
        table, action = self._altered
        if action[:1] != ("add",):
            return "", ""
        return table, unwrapped(action[2 if action[1:2] == ("column",) and len(action) > 2 else 1])

    @property
    def column_text(self) -> str:
        """The definition of an added column, as it was written."""
        found = list(lexed(self.piece.sql))
        at = 5 if len(found) > 3 and found[3].word == "." else 3
        at += 2 if found[at + 1].word == "column" and len(self._altered[1]) > 2 else 1
        return self.piece.sql[found[at].start :]

    @property
    def _altered(self) -> tuple[str, tuple[str, ...]]:
        """The table of an ALTER TABLE, and the words after its name; else empty."""
        words = self.words
        if words[:2] != ("alter", "table"):
            return "", ()
        at = 4 if words[3:4] == (".",) else 2
        return unwrapped(words[at]), words[at + 1 :]


class Step(Struct, frozen=True, dict=True):
    """A migration between two schemas. `batch` holds the versions that are released together with it.

    `head` is the schema at the newest version. `observed` is what it does to rows, `walked` the engine's answers.
    """

    migration: Migration
    before: Schema
    after: Schema
    earlier: Sequence[Migration]
    batch: frozenset[int] = frozenset()
    is_released: bool = False
    head: Schema = EMPTY
    observed: Observed = Observed()
    walked: Walked = Walked()
    keys_before: Keys = Keys()
    keys_at_head: Keys = Keys()

    @cached_property
    def statements(self) -> tuple[Parsed, ...]:
        return tuple(Parsed(number, piece) for number, piece in enumerate(self.migration.pieces, start=1))

    @cached_property
    def release(self) -> Release:
        return release_of(self.migration)

    def number_of(self, *words: str) -> int:
        """Return the first statement that contains these words in this order; 0 if there is none."""
        for one in self.statements:
            rest = iter(unwrapped(word) for word in one.words)
            if all(word in rest for word in words):
                return one.number
        return 0
