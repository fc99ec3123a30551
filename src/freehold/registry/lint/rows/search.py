"""Full-text tables (FTS5) as a trial needs them: whose rows they index, and how these are known."""

from collections.abc import Mapping

from msgspec import Struct

from freehold.migrate.schema import Schema
from freehold.migrate.virtual import Keeps


class SearchTable(Struct, frozen=True):
    """One FTS5 table. `content` is where its rows are, in lower case: None in itself, empty nowhere."""

    name: str
    content: str | None
    content_rowid: str


def search_tables(schema: Schema) -> Mapping[str, SearchTable]:
    """The FTS5 tables by name in lower case."""
    found = {}
    for name, table in schema.tables.items():
        virtual = table.virtual
        if virtual is not None and virtual.is_fts5:
            content = None if virtual.keeps is Keeps.OWN else virtual.content
            found[name] = SearchTable(table.name, content, virtual.content_rowid)
    return found


def counts_rows(table: SearchTable, schema: Schema) -> bool:
    """Whether it refers to the rows of another table by a number that is none of that table's columns."""
    owner = schema.tables.get(table.content or "")
    return owner is not None and table.content_rowid in owner.rowids
