"""Full-text tables (FTS5) as a trial needs them: whose rows they index, and whether they fit them."""

from collections.abc import Mapping

from msgspec import Struct

from freehold.migrate.names import quoted
from freehold.migrate.schema import Schema
from freehold.migrate.virtual import Keeps


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
    def rebuild_sql(self) -> str:
        """Makes the index again from its rows."""
        return f"INSERT INTO {quoted(self.name)} ({quoted(self.name)}) VALUES ('rebuild')"


def search_tables(schema: Schema) -> Mapping[str, SearchTable]:
    """The FTS5 tables by name in lower case."""
    found = {}
    for name, table in schema.tables.items():
        virtual = table.virtual
        if virtual is None or virtual.module != "fts5":
            continue
        content = None if virtual.keeps is Keeps.OWN else (virtual.option("content") or "").lower()
        found[name] = SearchTable(table.name, content, (virtual.option("content_rowid") or "rowid").lower())
    return found


def counts_rows(table: SearchTable, schema: Schema) -> bool:
    """Whether it refers to the rows of another table by a number that is none of that table's columns."""
    owner = schema.tables.get(table.content or "")
    return owner is not None and table.content_rowid in owner.rowids
