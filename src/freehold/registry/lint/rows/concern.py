"""Which migrations are worth a trial on rows, and which tables they concern."""

from collections.abc import Sequence, Set

from freehold.migrate.canonical import canonical, named, unwrapped
from freehold.migrate.schema import Schema
from freehold.migrate.types import Migration
from freehold.migrate.virtual import Keeps
from freehold.registry.lint.rows.said import said
from freehold.registry.lint.rows.search import search_tables
from freehold.registry.lint.step import Parsed

_OF_DATA = (("insert",), ("update",), ("delete",), ("replace",), ("with",))


def may_lose_rows(migration: Migration, before: Schema) -> bool:
    """Whether it is worth a trial: there are tables before it, and it does more than add."""
    if not before.tables:
        return False
    has_search = bool(search_tables(before))
    statements = [canonical(sql) for sql in migration.statements]
    # A trigger that is new deletes rows for the first time if a statement fires it.
    fires = any(words[:2] == ("create", "trigger") for words in statements) and any(
        words[:1] in _OF_DATA for words in statements
    )
    return fires or any(_takes(words, has_search=has_search) for words in statements)


def _takes(words: Sequence[str], *, has_search: bool) -> bool:
    match words[:2]:
        case ("drop", "table" | "trigger" | "view") | ("create", "virtual"):
            return True
        case ("alter", "table"):
            return "rename" in words or "drop" in words
    if words[:1] not in _OF_DATA:
        return False
    return said(words).replaces or (has_search and words[:1] != ("insert",))


def concerned(statements: Sequence[Parsed], schema: Schema) -> Set[str]:
    """The tables that the statements name, with what views, triggers and foreign keys tie to them."""
    texts = {
        name: other.shape for others in (schema.views, schema.triggers) for name, other in others.items()
    }
    owners = {name: trigger.table for name, trigger in schema.triggers.items()}
    contents = {name: search.content for name, search in search_tables(schema).items()}
    # A full-text table names the table of its rows in a string.
    found = {named(word) for one in statements for word in one.words}
    count = -1
    while count != len(found):
        count = len(found)
        for name, words in texts.items():
            if name in found or owners.get(name) in found:
                found.update(map(unwrapped, words))
        for name, table in schema.tables.items():
            parents = {key.parent for key in table.foreign_keys}
            content = contents.get(name)
            if name in found or parents & found or content in found:
                found |= {name, *parents, content or name}
    # What only shows another table's words has no rows of its own.
    shown = {name for name, table in schema.tables.items() if table.keeps is Keeps.SHOWS}
    return (found & schema.tables.keys()) - shown
