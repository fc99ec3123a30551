"""Rebuild a table for changes beyond adding and dropping columns: a new table takes over the rows.

Source: https://www.sqlite.org/lang_altertable.html, section 7, "Making Other Kinds Of Table Schema Changes".
"""

from collections.abc import Iterable, Iterator, Mapping

from freehold.migrate.canonical import default_text, renamed
from freehold.migrate.full_text_settings import Settings, setting_statements
from freehold.migrate.names import quoted
from freehold.migrate.schema import Column, Table
from freehold.migrate.table_text import table_text
from freehold.migrate.virtual import READABLE, Keeps
from freehold.registry.diff.rows import bounds, number_column, number_of, renumbering
from freehold.registry.diff.values import zero

_TEXTS = frozenset({"text", "blob"})
_NUMBERS = frozenset({"integer", "real", "numeric"})
_WHOLE = frozenset({"integer", "numeric"})


def rebuild(before: Table, after: Table, draft_name: str, settings: Settings = ()) -> list[str]:
    """Return statements that turn `before` into `after` and keep its rows. Foreign keys must be off while they run.

    `settings` belong to a full-text table.
    """
    statements = [renamed(after.sql, quoted(draft_name))]
    if after.virtual is not None and after.virtual.is_fts5:
        statements += setting_statements(draft_name, settings)
    if before.keeps in READABLE and after.keeps is Keeps.OWN:
        pairs = [*_carried(before, after)]
        if pairs:
            names, values = (", ".join(part) for part in zip(*pairs, strict=True))
            statements.append(
                f"INSERT {_or_abort(after)}INTO {quoted(draft_name)} ({names})\n"
                f"SELECT {values}\nFROM {quoted(before.name)}"
            )
    if "autoincrement" in before.options and "autoincrement" in after.options:
        statements += _kept_sequence(before.name, draft_name)
    statements.append(f"DROP TABLE {quoted(before.name)}")
    statements.append(f"ALTER TABLE {quoted(draft_name)} RENAME TO {quoted(after.name)}")
    return statements


def guesses(before: Table, after: Table) -> Iterator[str]:
    """Yield what a rebuild has to make up, for a person to review."""
    texts = column_texts(after)
    for column in after.columns:
        was = before.column(column.name)
        if was is None and column.name in bounds(after):
            yield f"{after.name}.{column.name} is new: rows get 0"
        if was is not None and column.name == number_column(after) != number_column(before) and not was.not_null:
            yield f"{after.name}.{column.name} becomes the number of the row: rows without a value get one"
        if was is not None and not column.is_generated:
            yield from _inexact(f"{after.name}.{column.name}", before.affinity_of(was), after.affinity_of(column))
        if column.is_generated or not column.not_null or column.primary:
            continue
        if was is None and column.default is None:
            yield f"{after.name}.{column.name} is NOT NULL and new: rows get {zero(after, column)}"
        if was is not None and not was.not_null:
            value = zero(after, column) if column.default is None else default_text(texts.get(column.name, ""))
            yield f"{after.name}.{column.name} becomes NOT NULL: rows without a value get {value}"


def _inexact(name: str, was: str, becomes: str) -> Iterator[str]:
    """Yield the irreversible effects of a column's new affinity on its values."""
    if was in _TEXTS and becomes in _NUMBERS:
        yield f"{name} is for numbers now: the text 007 becomes 7"
    elif was in _WHOLE and becomes == "real":
        yield f"{name} is for fractions now: whole numbers beyond 9007199254740992 lose their last digits"
    elif was not in {becomes, "text", "integer"} and becomes == "text":
        yield f"{name} is for texts now: of fractions 15 digits are kept, 0.1 + 0.2 becomes 0.3"


def changes_values(before: Table, after: Table, names: Iterable[str]) -> bool:
    """Return whether a rebuild may change a stored value in one of these columns."""
    for name in names:
        was, column = before.column(name), after.column(name)
        if was is None or column is None or column.is_generated or was.is_generated:
            return True
        if before.affinity_of(was) != after.affinity_of(column) or (column.not_null and not was.not_null):
            return True
    return False


def column_texts(table: Table) -> Mapping[str, str]:
    """Return each column's definition from the CREATE TABLE."""
    return {} if table.virtual else {name: one.text for name, one in table_text(table.sql).columns.items()}


def _carried(before: Table, after: Table) -> Iterator[tuple[str, str]]:
    """Yield each column of the new table with the expression that fills it, the rowid first."""
    number, source = number_column(after), number_of(before)
    is_kept = source is not None and not renumbering(before, after)
    target = number_of(after)
    if is_kept and source and target and not (number and before.column(number)):
        yield target, source
    texts = column_texts(after)
    for column in after.columns:
        if column.is_generated or (is_kept and column.name == number and before.column(number) is None):
            continue
        default = None if column.default is None else default_text(texts.get(column.name, ""))
        value = _value(column, before.column(column.name), default or zero(after, column))
        if value is not None:
            yield quoted(column.name), value
    yield from _languages(before, after)


def _languages(before: Table, after: Table) -> Iterator[tuple[str, str]]:
    """Yield the hidden language column of an FTS4 table."""
    one, other = before.virtual, after.virtual
    name = one.option("languageid") if one else None
    if name and other and other.option("languageid") == name:
        yield quoted(name), quoted(name)


def _or_abort(after: Table) -> str:
    """Return `OR ABORT ` if a constraint has a conflict clause, so that it neither ignores nor replaces rows here."""
    conflicts = [key.conflict for key in after.keys]
    conflicts += [option for column in after.columns for option in column.options if "conflict" in option]
    return "OR ABORT " if any(conflicts) else ""


def _value(column: Column, was: Column | None, fallback: str) -> str | None:
    """Return the expression that fills the new column; None leaves it to its default."""
    if was is None:
        return fallback if column.not_null and column.default is None and not column.primary else None
    if column.not_null and not was.not_null and not column.primary:
        return f"coalesce({quoted(column.name)}, {fallback})"
    return quoted(column.name)


def _kept_sequence(name: str, draft_name: str) -> list[str]:
    """Carry over the AUTOINCREMENT sequence, so that numbers once used are never used again."""
    draft, old = (text.replace("'", "''") for text in (draft_name, name))
    return [
        f"DELETE FROM sqlite_sequence WHERE name = '{draft}'",
        f"INSERT INTO sqlite_sequence (name, seq) SELECT '{draft}', seq FROM sqlite_sequence WHERE name = '{old}'",
    ]
