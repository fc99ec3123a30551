"""Rebuilds one table: SQLite can add and drop columns, and for all else a new table takes the rows over.

Source: https://www.sqlite.org/lang_altertable.html, section 7, "Making Other Kinds Of Table Schema Changes".
"""

from collections.abc import Iterator, Mapping

from freehold.migrate.canonical import canonical, default_text, item_texts, items, renamed
from freehold.migrate.names import quoted
from freehold.migrate.schema import Column, Table


def rebuild(before: Table, after: Table, draft_name: str) -> list[str]:
    """Statements that make `before` into `after` and keep its rows. Foreign keys must be off while they run."""
    names, values = [], []
    texts = column_texts(after)
    for column in after.columns:
        default = default_text(texts.get(column.name, ""))
        value = None if column.is_generated else _value(column, before.column(column.name), default)
        if value is not None:
            names.append(quoted(column.name))
            values.append(value)
    statements = [renamed(after.sql, quoted(draft_name))]
    if names:
        statements.append(
            f"INSERT INTO {quoted(draft_name)} ({', '.join(names)})\n"
            f"SELECT {', '.join(values)}\nFROM {quoted(before.name)}"
        )
    if "autoincrement" in before.options and "autoincrement" in after.options:
        statements += _kept_sequence(before.name, draft_name)
    statements.append(f"DROP TABLE {quoted(before.name)}")
    statements.append(f"ALTER TABLE {quoted(draft_name)} RENAME TO {quoted(after.name)}")
    return statements


def guesses(before: Table, after: Table) -> Iterator[str]:
    """What a rebuild has to make up, for a person to look at."""
    for column in after.columns:
        was = before.column(column.name)
        if column.is_generated or not column.not_null or column.default is not None or column.primary:
            continue
        if was is None:
            yield f"{after.name}.{column.name} is NOT NULL and new: rows get {_zero(column)}"
        elif not was.not_null:
            yield f"{after.name}.{column.name} becomes NOT NULL: rows without a value get {_zero(column)}"


def column_texts(table: Table) -> Mapping[str, str]:
    """By column, what its CREATE TABLE says of it."""
    found, _ = items(canonical(table.sql))
    return {
        item.column: text for item, text in zip(found, item_texts(table.sql), strict=False) if item.column
    }


def _value(column: Column, was: Column | None, default: str | None) -> str | None:
    """What the new column is filled with; None leaves it to its default."""
    fallback = _zero(column) if default is None else default
    if was is None:
        return fallback if column.not_null and column.default is None and not column.primary else None
    if column.not_null and not was.not_null and not column.primary:
        return f"coalesce({quoted(column.name)}, {fallback})"
    return quoted(column.name)


def _zero(column: Column) -> str:
    """The empty value of its affinity."""
    return {"text": "''", "blob": "x''"}.get(column.affinity, "0")


def _kept_sequence(name: str, draft_name: str) -> list[str]:
    """Numbers that were given out once are never given out again."""
    draft, old = (text.replace("'", "''") for text in (draft_name, name))
    return [
        f"DELETE FROM sqlite_sequence WHERE name = '{draft}'",
        f"INSERT INTO sqlite_sequence (name, seq) SELECT '{draft}', seq FROM sqlite_sequence WHERE name = '{old}'",
    ]
