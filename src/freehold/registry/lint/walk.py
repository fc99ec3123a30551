"""Run migrations statement by statement on a separate database, and record what SQLite says about each.

SQLite decides what a quoted name means, whether a foreign key can be checked at all, and with which index.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from freehold.migrate.canonical import canonical, items, named
from freehold.migrate.names import folded, quoted
from freehold.migrate.schema import ForeignKey, Schema, Table
from freehold.migrate.split import tokens
from freehold.registry.lint.rows.sample import connect
from freehold.registry.lint.step import Keys, Parsed, Walked
from freehold.sql.tokens import Kind

_SECONDS = 60.0
_KINDS = ("table", "view", "trigger", "index")


class Walk:
    """One database that is migrated version by version. Blocking; close it in the end."""

    def __init__(self) -> None:
        self._connection = connect(_SECONDS)
        self._connection.execute("COMMIT")
        self._is_lost = False

    def close(self) -> None:
        self._connection.close()

    def go(self, statements: Sequence[Parsed], after: Schema) -> Walked:
        """Run the statements of the next version, which leads to `after`, and return what SQLite says about them."""
        strings: dict[int, tuple[str, ...]] = {}
        unmade: dict[int, str] = {}
        rewritten: dict[int, tuple[str, ...]] = {}
        for one in () if self._is_lost else statements:
            try:
                if found := tuple(self._strings(one)):
                    strings[one.number] = found
                if reason := self._in_the_way(one):
                    unmade[one.number] = reason
                before = self._views() if one.words[:2] == ("alter", "table") else {}
                self._connection.execute(one.piece.sql).fetchall()
                now = self._views() if before else {}
                if changed := [name for name, sql in now.items() if before.get(name, sql) != sql]:
                    rewritten[one.number] = tuple(changed)
            except sqlite3.Error:  # it runs where it counts; this database just cannot follow it
                self._is_lost = True
                break
        return Walked(strings, unmade, rewritten, Keys() if self._is_lost else self._keys(after))

    # -- strings in double quotes --

    def _strings(self, one: Parsed) -> Iterator[str]:
        """Yield double-quoted names that match nothing, so that SQLite takes them for strings."""
        sql = one.piece.sql
        places = [
            (start, end)
            for kind, start, end in tokens(sql)
            if kind is Kind.QUOTED and sql[start] == '"' and "]" not in sql[start:end]
        ]
        if not places or self._is_known(one, _bracketed(sql, places)) or not self._is_known(one, sql):
            return
        for place in places:
            if not self._is_known(one, _bracketed(sql, [place])):
                yield sql[place[0] : place[1]]

    def _is_known(self, one: Parsed, sql: str) -> bool:
        """Return whether every name in it exists."""
        words = one.words
        with self._undone():
            try:
                if one.is_data or words[0] in ("select", "values"):
                    self._connection.execute(f"EXPLAIN {sql}").fetchall()
                    return True
                self._connection.execute(sql).fetchall()
                if words[0] != "create":
                    return True
                if "view" in words[:4]:
                    self._connection.execute(f"EXPLAIN SELECT * FROM {quoted(_made(words))}")
                elif "trigger" in words[:4]:
                    self._fire(_made(words))
            except sqlite3.Error as error:
                return "no such column" not in str(error)
        return True

    def _fire(self, trigger: str) -> None:
        """Make SQLite compile the trigger, as it does for a statement that fires it."""
        [(table,)] = self._connection.execute(
            "SELECT tbl_name FROM sqlite_schema WHERE type = 'trigger' AND lower(name) = ?", (trigger,)
        ).fetchall()
        columns = self._connection.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
        name = quoted(table)
        for sql in (
            f"INSERT INTO {name} DEFAULT VALUES",
            f"DELETE FROM {name}",
            *(f"UPDATE {name} SET {quoted(column[1])} = 1" for column in columns if not column[6]),
        ):
            self._connection.execute(f"EXPLAIN {sql}").fetchall()

    @contextmanager
    def _undone(self) -> Iterator[None]:
        self._connection.execute("SAVEPOINT here")
        try:
            yield
        finally:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK TO here")
            with suppress(sqlite3.Error):
                self._connection.execute("RELEASE here")

    # -- IF NOT EXISTS --

    def _in_the_way(self, one: Parsed) -> str:
        """Return what has the name already, if it differs from what IF NOT EXISTS would have created."""
        words = one.words
        at = next((at for at in range(len(words) - 2) if words[at : at + 3] == ("if", "not", "exists")), 0)
        if words[:1] != ("create",) or not 0 < at < 4:
            return ""
        name = _made(words)
        found = self._connection.execute(
            "SELECT type, sql FROM sqlite_schema WHERE lower(name) = ?", (name,)
        ).fetchone()
        if found is None:
            return ""
        kind, sql = str(found[0]), str(found[1] or "")
        if kind != words[at - 1]:
            return f"there is a {kind} `{name}` already, so it makes nothing"
        if _shape(canonical(sql)) != _shape((*words[:at], *words[at + 3 :])):
            return f"there is a {kind} `{name}` of another shape already, so it makes nothing"
        return ""

    def _views(self) -> dict[str, str]:
        rows = self._connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'view'").fetchall()
        return {str(name): str(sql) for name, sql in rows}

    # -- foreign keys --

    def _keys(self, schema: Schema) -> Keys:
        broken: dict[tuple[str, ForeignKey], str] = {}
        unindexed = set()
        self._connection.execute("PRAGMA foreign_keys = ON")
        for name, table in schema.tables.items():
            faults = {key: reason for key in table.foreign_keys if (reason := _fault(key, schema))}
            if not faults and (message := self._mismatch(table)):
                faults = {
                    key: message for key in table.foreign_keys if f'referencing "{key.parent}"' in folded(message)
                }
            broken.update({(name, _bare(key)): reason for key, reason in faults.items()})
            unindexed |= {(name, _bare(key)) for key in table.foreign_keys if self._is_scanned(table, key)}
        self._connection.execute("PRAGMA foreign_keys = OFF")
        return Keys(broken, frozenset(unindexed))

    def _mismatch(self, table: Table) -> str:
        if table.foreign_keys:
            try:
                self._connection.execute(f"EXPLAIN INSERT INTO {quoted(table.name)} DEFAULT VALUES").fetchall()
            except sqlite3.Error as error:
                return str(error) if "foreign key mismatch" in str(error) else ""
        return ""

    def _is_scanned(self, table: Table, key: ForeignKey) -> bool:
        """Return whether finding the rows that refer to one row reads the whole table."""
        which = " AND ".join(f"{quoted(name)} = 1" for name in key.columns)
        sql = f"EXPLAIN QUERY PLAN SELECT 1 FROM {quoted(table.name)} WHERE {which}"
        with suppress(sqlite3.Error):
            return any(str(row[3]).startswith("SCAN") for row in self._connection.execute(sql).fetchall())
        return False


def _bare(key: ForeignKey) -> ForeignKey:
    """Return the same key whether or not it names the columns of its parent."""
    return msgspec.structs.replace(key, parent_columns=())


def _fault(key: ForeignKey, schema: Schema) -> str:
    """Return what a foreign key lacks; whether the columns it refers to are unique is left to SQLite."""
    parent = schema.tables.get(key.parent)
    if parent is None:
        return f"`{key.parent}` is a view" if key.parent in schema.views else f"there is no table `{key.parent}`"
    if parent.is_virtual:
        return f"`{key.parent}` is a virtual table"
    if lost := [name for name in key.parent_columns if parent.column(name) is None]:
        return f"`{key.parent}` has no column {', '.join(lost)}"
    if not key.parent_columns:
        count = len(parent.primary_key)
        if count != len(key.columns):
            has = f"a primary key of {count} columns" if count else "no primary key"
            return f"`{key.parent}` has {has}"
    return ""


def _bracketed(sql: str, places: Sequence[tuple[int, int]]) -> str:
    """Return the statement with these names in brackets, which SQLite never takes for strings."""
    made, at = [], 0
    for start, end in places:
        made += [sql[at:start], f"[{sql[start + 1 : end - 1].replace(chr(34) * 2, chr(34))}]"]
        at = end
    return "".join([*made, sql[at:]])


def _behind_kind(words: Sequence[str]) -> int:
    """Return the position after the kind of object in a CREATE statement."""
    return next((at + 1 for at, word in enumerate(words[:4]) if word in _KINDS), 0)


def _made(words: Sequence[str]) -> str:
    """Return the name that a CREATE statement creates, in lower case."""
    at = _behind_kind(words)
    if tuple(words[at : at + 3]) == ("if", "not", "exists"):
        at += 3
    if words[at + 1 : at + 2] == (".",):
        at += 2
    return named(words[at])


def _shape(words: Sequence[str]) -> object:
    """Return what it creates, regardless of column order, and without schema and object name."""
    at = _behind_kind(words)
    rest = tuple(words[at + (3 if words[at + 1 : at + 2] == (".",) else 1) :])
    if words[:2] == ("create", "table") and rest[:1] == ("(",):
        found, tail = items(rest)
        return sorted(item.words for item in found), tail
    return words[:at], rest
