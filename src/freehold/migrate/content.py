"""The tables of a database as copying and dumping need them: which columns hold data, and how rows are told apart."""

import re

from msgspec import Struct

from freehold.migrate.canonical import canonical, items
from freehold.migrate.fingerprint import OURS_SQL, ask
from freehold.migrate.ledger import LEDGER_TABLE
from freehold.migrate.target import Target

_SCHEMA_SQL = f"SELECT type, name, sql FROM sqlite_schema WHERE {OURS_SQL} ORDER BY rowid"
_LEDGER_SQL = f"SELECT type, name, sql FROM sqlite_schema WHERE type = 'table' AND name = '{LEDGER_TABLE}'"
_SEQUENCES_SQL = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'"
# 0 is an ordinary column; the others are generated, or a virtual table's own.
_COLUMNS_SQL = f"""SELECT owner.name, found.name FROM
  (SELECT rowid AS place, name FROM sqlite_schema
   WHERE type = 'table' AND (name = '{LEDGER_TABLE}' OR ({OURS_SQL}))) AS owner,
  pragma_table_xinfo(owner.name) AS found
WHERE found.hidden = 0 ORDER BY owner.place, found.cid"""

_MODULE = re.compile(r"\bUSING\s+[\"`\[]?(\w+)", re.IGNORECASE)
_FTS_CONTENT = re.compile(r"\bcontent\s*=\s*('(?:[^']|'')*'|\"[^\"]*\"|\w+)", re.IGNORECASE)


class Table(Struct, frozen=True):
    """One table. `columns` are those that hold data; `module` is empty for an ordinary table."""

    name: str
    columns: tuple[str, ...]
    module: str
    sql: str
    has_rowid: bool

    @property
    def rowid(self) -> str | None:
        """A name for the row's number that no column hides, if there is one."""
        taken = {column.lower() for column in self.columns}
        return next((name for name in ("rowid", "_rowid_", "oid") if name not in taken), None)

    @property
    def fts_content(self) -> str | None:
        """Where a full-text table keeps its rows: None in itself, empty nowhere, else in the named table."""
        found = _FTS_CONTENT.search(self.sql)
        return found[1].strip("'\"") if found else None


class Content(Struct, frozen=True):
    """`tables` in the order they were made; `rest` is the SQL of indexes, views and triggers, in that order."""

    tables: tuple[Table, ...]
    rest: tuple[str, ...]
    has_sequences: bool


async def read_content(target: Target, *, with_ledger: bool = False) -> Content:
    """Everything that migrations and users made, and nothing of the engine's own.

    Raises:
        SchemaUnreadable, Unavailable: it cannot be read.
    """
    found, ledger, sequences, columns = await ask(
        target, _SCHEMA_SQL, _LEDGER_SQL, _SEQUENCES_SQL, _COLUMNS_SQL
    )
    rows = [*(ledger if with_ledger else []), *found]
    objects = [(str(kind), str(name), str(sql)) for kind, name, sql in rows]
    tables = tuple(
        Table(
            name,
            tuple(str(column) for owner, column in columns if owner == name),
            _module(sql),
            sql,
            "without" not in items(canonical(sql))[1],
        )
        for kind, name, sql in objects
        if kind == "table"
    )
    rest = [sql for wanted in ("index", "view", "trigger") for kind, _, sql in objects if kind == wanted]
    return Content(tables, tuple(rest), bool(sequences))


def _module(sql: str) -> str:
    if not sql.upper().startswith("CREATE VIRTUAL TABLE"):
        return ""
    found = _MODULE.search(sql)
    return found[1].lower() if found else "unknown"
