"""Full-text tables (FTS5): where their rows are, and whether what they find is what is there."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.migrate.canonical import canonical, unwrapped
from freehold.migrate.failures import circumstance
from freehold.migrate.names import quoted
from freehold.migrate.schema import Schema, Table
from freehold.migrate.target import Target

_ROWIDS = ("rowid", "_rowid_", "oid")


class SearchTable(Struct, frozen=True):
    """One FTS5 table. `content` is where its rows are, in lower case: None in itself, empty nowhere."""

    name: str
    content: str | None
    content_rowid: str

    @property
    def check_sql(self) -> str:
        """Fails when the index and the rows that it is made from differ."""
        return f"INSERT INTO {quoted(self.name)} ({quoted(self.name)}, rank) VALUES ('integrity-check', 1)"

    @property
    def inner_check_sql(self) -> str:
        """Fails when the index is damaged in itself, or differs from rows that the table itself keeps."""
        return f"INSERT INTO {quoted(self.name)} ({quoted(self.name)}) VALUES ('integrity-check')"

    @property
    def rebuild_sql(self) -> str:
        """Makes the index again from its rows."""
        return f"INSERT INTO {quoted(self.name)} ({quoted(self.name)}) VALUES ('rebuild')"


def module_of(table: Table) -> str:
    """The module of a virtual table in lower case; empty for an ordinary one."""
    words = canonical(table.sql) if table.is_virtual else ()
    return unwrapped(words[words.index("using") + 1]) if "using" in words[:-1] else ""


def search_tables(schema: Schema) -> Mapping[str, SearchTable]:
    """The FTS5 tables by name in lower case."""
    return {
        name: SearchTable(table.name, *_content(table))
        for name, table in schema.tables.items()
        if module_of(table) == "fts5"
    }


def _content(table: Table) -> tuple[str | None, str]:
    options = dict(_options(canonical(table.sql)))
    return options.get("content"), options.get("content_rowid") or "rowid"


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and value of each `name = value` between the parentheses, in lower case and without quotes."""
    for at in range(1, len(words) - 1):
        if words[at] == "=":
            value = words[at + 1]
            is_string = value.startswith("'")
            yield words[at - 1], (value[1:-1].replace("''", "'") if is_string else unwrapped(value)).lower()


def counts_rows(table: SearchTable, schema: Schema) -> bool:
    """Whether it refers to the rows of another table by a number that is none of that table's columns."""
    owner = schema.tables.get(table.content or "")
    return owner is not None and table.content_rowid in _ROWIDS and owner.column(table.content_rowid) is None


def is_kept_whole(table: SearchTable, schema: Schema) -> bool:
    """Whether a trigger puts every new row of another table into it; else it may hold part of them on purpose."""
    owner = schema.tables.get(table.content or "")
    if owner is None or owner.is_virtual:
        return False
    for trigger in schema.triggers.values():
        words = [unwrapped(word) for word in trigger.shape]
        head = words[: words.index("begin")] if "begin" in words else words
        writes = ("insert", "into", table.name.lower()) in zip(words, words[1:], words[2:], strict=False)
        is_about_all = "insert" in head and "when" not in head and "where" not in words
        if trigger.table == table.content and writes and is_about_all:
            return True
    return False


async def stale_indexes(target: Target, schema: Schema, *, only_whole: bool = False) -> list[str]:
    """The full-text tables, by name in lower case, whose index does not fit the rows that it is made from.

    With `only_whole`, those that may hold only part of the rows are looked at in themselves alone. It reads all of
    each table and changes nothing, but waits for the write lock.

    Raises:
        Unavailable: no answer, or busy.
    """
    tables = search_tables(schema)
    if not tables:
        return []
    checks = [
        table.check_sql if not only_whole or is_kept_whole(table, schema) else table.inner_check_sql
        for table in tables.values()
    ]
    [answer] = await target.run([Batch(tuple(BatchStep(Stmt(sql=sql, want_rows=False)) for sql in checks))])
    found = []
    for name, error in zip(tables, answer.step_errors, strict=True):
        if error is not None and (blame := circumstance(error)):
            raise blame
        # What else is wrong with such a table, such as rows that are nowhere, comparing the schema tells.
        if error is not None and ("CORRUPT" in (error.code or "") or "malformed" in error.message):
            found.append(name)
    return found
