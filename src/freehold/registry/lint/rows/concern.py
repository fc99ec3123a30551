"""Decide which migrations to try on rows, from their statements and the tables that these affect."""

from collections.abc import Mapping, Sequence, Set

from msgspec import Struct

from freehold.migrate.canonical import canonical, closing, named, unwrapped
from freehold.migrate.schema import Schema
from freehold.migrate.types import Migration
from freehold.migrate.virtual import Keeps
from freehold.registry.lint.step import Parsed

_OF_DATA = (("insert",), ("update",), ("delete",), ("replace",), ("with",))


def may_lose_rows(migration: Migration, before: Schema) -> bool:
    """Return whether it should be tried: tables exist before it, and it does more than add."""
    if not before.tables:
        return False
    has_search = bool(search_tables(before))
    statements = [canonical(sql) for sql in migration.statements]
    # A new trigger deletes nothing until a statement fires it.
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
    """Return the tables that the statements name, and those linked to them by views, triggers and foreign keys."""
    texts = {name: other.shape for others in (schema.views, schema.triggers) for name, other in others.items()}
    owners = {name: trigger.table for name, trigger in schema.triggers.items()}
    contents = {name: search.content for name, search in search_tables(schema).items()}
    # A full-text table names its content table in a string.
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
    # A table that only shows another table's words has no rows of its own.
    shown = {name for name, table in schema.tables.items() if table.keeps is Keeps.SHOWS}
    return (found & schema.tables.keys()) - shown


_VERBS = ("insert", "replace", "update", "delete")
_TAKING = {"delete", "replace"}


class Said(Struct, frozen=True):
    """What a statement does to which `table` (lower case). `columns` are those that an INSERT names, None for all.

    `replaces`: it deletes conflicting rows, and everything that depends on them.
    """

    verb: str
    table: str
    columns: frozenset[str] | None = None
    replaces: bool = False


def said(words: Sequence[str]) -> Said:
    """Parse the canonical words of a statement, which may start with WITH."""
    depth = 0
    for at, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if not depth and word in _VERBS:
            return _said(word, words[at + 1 :])
    return Said("", "")


def _said(verb: str, rest: Sequence[str]) -> Said:
    replaces = verb == "replace" or tuple(rest[:2]) == ("or", "replace")
    at = 2 if rest[:1] == ("or",) else 0
    at += rest[at : at + 1] in (("into",), ("from",))
    at += 2 if rest[at + 1 : at + 2] == (".",) else 0
    table = unwrapped(rest[at]) if at < len(rest) else ""
    columns = None
    if verb in ("insert", "replace") and rest[at + 1 : at + 2] == ("(",):
        columns = frozenset(map(unwrapped, rest[at + 2 : closing(rest, at + 1)]))
    return Said(verb, table, columns, replaces)


def may_shrink(one: Said, owner: str | None, schema: Schema) -> Set[str]:
    """Return the tables that may lose rows by such a statement on `owner`, through DELETE or existing triggers.

    An existing trigger or cascade also deletes rows for every app, so it counts as intended; a new one does not.
    """
    if one.verb == "delete" and owner is None:  # a view, or a table that the migration created
        return schema.tables.keys()
    gone = {owner} if one.verb == "delete" and owner else set()
    reached = {owner} if owner else set()
    count = -1
    while count != len(gone) + len(reached):
        count = len(gone) + len(reached)
        for trigger in schema.triggers.values():
            if trigger.table in reached:
                words = {unwrapped(word) for word in trigger.shape}
                named = words & schema.tables.keys()
                reached |= named
                gone |= named if words & _TAKING else set()
        gone |= {name for name, table in schema.tables.items() if gone & {key.parent for key in table.foreign_keys}}
        reached |= gone
    return gone


class SearchTable(Struct, frozen=True):
    """One FTS5 table. `content` names the table (lower case) of its rows: None if itself, empty if it stores none."""

    name: str
    content: str | None
    content_rowid: str


def search_tables(schema: Schema) -> Mapping[str, SearchTable]:
    """Return the FTS5 tables by name (lower case)."""
    found = {}
    for name, table in schema.tables.items():
        virtual = table.virtual
        if virtual is not None and virtual.is_fts5:
            content = None if virtual.keeps is Keeps.OWN else virtual.content
            found[name] = SearchTable(table.name, content, virtual.content_rowid)
    return found


def counts_rows(table: SearchTable, schema: Schema) -> bool:
    """Return whether it refers to another table's rows by a rowid that is not a column there."""
    owner = schema.tables.get(table.content or "")
    return owner is not None and table.content_rowid in owner.rowids
