"""The tables of a database as copying and dumping need them: which columns hold data, and what identifies a row."""

from collections.abc import Sequence

from msgspec import Struct

from freehold.libsql.values import SqlValue
from freehold.migrate.canonical import canonical, items
from freehold.migrate.fingerprint import OURS_SQL, ask
from freehold.migrate.ledger import LEDGER_TABLE
from freehold.migrate.names import ROWIDS, folded
from freehold.migrate.target import Target
from freehold.migrate.virtual import Keeps, Virtual, virtual_of

_SCHEMA_SQL = f"SELECT type, name, sql FROM sqlite_schema WHERE {OURS_SQL} ORDER BY rowid"
_LEDGER_SQL = f"SELECT type, name, sql FROM sqlite_schema WHERE type = 'table' AND name = '{LEDGER_TABLE}'"
_SEQUENCES_SQL = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'"
_COLUMNS_SQL = f"""SELECT owner.name, found.name, found.hidden FROM
  (SELECT rowid AS place, name FROM sqlite_schema
   WHERE type = 'table' AND (name = '{LEDGER_TABLE}' OR ({OURS_SQL}))) AS owner,
  pragma_table_xinfo(owner.name) AS found
ORDER BY owner.place, found.cid"""


class Table(Struct, frozen=True):
    """One table. `columns` are those that hold data, `others` generated ones and a virtual table's own."""

    name: str
    columns: tuple[str, ...]
    others: tuple[str, ...]
    sql: str
    has_rowid: bool
    virtual: Virtual | None

    @property
    def rowid(self) -> str | None:
        """A name of the row's number that no column hides, or None."""
        if self.virtual is not None and not self.virtual.is_text and self.virtual.module != "geopoly":
            return None  # the number is a column of its own
        taken = {folded(column) for column in (*self.columns, *self.others)}
        return next((name for name in ROWIDS if name not in taken), None)

    @property
    def keeps(self) -> Keeps:
        """Where its rows are; an ordinary table's are its own."""
        return Keeps.OWN if self.virtual is None else self.virtual.keeps

    @property
    def is_fts5(self) -> bool:
        """Whether it is a full-text table that is configured by inserts."""
        return self.virtual is not None and self.virtual.is_fts5


class Content(Struct, frozen=True):
    """`tables` in the order of their creation; `rest` is the SQL of indexes, views and triggers, in that order."""

    tables: tuple[Table, ...]
    rest: tuple[str, ...]
    has_sequences: bool


async def read_content(target: Target, *, with_ledger: bool = False) -> Content:
    """Everything that migrations and users created, and nothing of the engine's own. Raises as `ask` does."""
    found, ledger, sequences, columns = await ask(target, _SCHEMA_SQL, _LEDGER_SQL, _SEQUENCES_SQL, _COLUMNS_SQL)
    objects = [(str(kind), str(name), str(sql)) for kind, name, sql in (*(ledger if with_ledger else ()), *found)]
    tables = tuple(_table(name, sql, columns) for kind, name, sql in objects if kind == "table")
    rest = [sql for wanted in ("index", "view", "trigger") for kind, _, sql in objects if kind == wanted]
    return Content(tables, tuple(rest), bool(sequences))


def _table(name: str, sql: str, columns: Sequence[Sequence[SqlValue]]) -> Table:
    own = [(str(column), bool(hidden)) for owner, column, hidden in columns if owner == name]
    virtual = virtual_of(sql)
    # The column with a row's language is hidden, but holds data.
    language = folded(virtual.option("languageid") or "") if virtual else ""
    kept = tuple(column for column, is_hidden in own if not is_hidden or folded(column) == language)
    others = tuple(column for column, is_hidden in own if is_hidden and folded(column) != language)
    return Table(name, kept, others, sql, "without" not in items(canonical(sql))[1], virtual)
