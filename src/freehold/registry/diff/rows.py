"""What a schema change does to rows: which are carried over, which are not, and what is lost for good.

Sources: https://www.sqlite.org/lang_altertable.html, section 7, and https://www.sqlite.org/fts5.html, section 4.4.
"""

from collections.abc import Iterator, Set

from freehold.migrate.canonical import named
from freehold.migrate.names import folded, quoted
from freehold.migrate.schema import Other, Schema, Table
from freehold.migrate.virtual import READABLE, Keeps


def number_column(table: Table) -> str:
    """Return the column that holds the rowid; empty if none does."""
    if table.virtual is not None and table.virtual.is_tree:
        return table.virtual.columns[0].name if table.virtual.columns else ""
    return table.number


def number_of(table: Table) -> str | None:
    """Return the SQL that reads a row's rowid; None if there is none, or columns hide it."""
    if not table.has_rowid:
        return None
    column = number_column(table)
    return quoted(column) if column else table.rowid


def why_not(before: Table, after: Table) -> str:
    """Return why rows cannot be carried over from or to a virtual table, to end a sentence; empty if they can."""
    was, will = before.keeps, after.keeps
    name = after.name
    if Keeps.UNKNOWN in (was, will):
        module = (before.virtual or after.virtual) if was is Keeps.UNKNOWN else after.virtual
        return f"the module `{module.module if module else ''}` is not known, nor what it keeps"
    if was is Keeps.SHOWS:
        return "" if will is Keeps.SHOWS else f"{name} had no rows of its own"
    if was is Keeps.NOTHING:
        # Its source may still exist, and becomes the content that it indexes.
        return "" if will is Keeps.OTHERS else f"{name} keeps no texts, so it cannot be rebuilt from itself"
    if was is Keeps.OTHERS:
        return "" if will in READABLE else f"the rows that {name} indexes would no longer be in it"
    if will is not Keeps.OWN:
        return f"the rows of {name} would go, as it would keep none of its own"
    return _why_no_tree(before, after)


def _why_no_tree(before: Table, after: Table) -> str:
    one, other = before.virtual, after.virtual
    if other is None or not (other.is_tree or other.module == "geopoly"):
        lost = one and one.option("languageid")
        if lost and (other is None or other.option("languageid") != lost):
            return f"the language of each row in {lost} would go"
        return ""
    if one is None or one.module != other.module:
        return f"a table of `{other.module}` keeps numbers otherwise than {before.name} does now"
    if other.is_tree:
        known = set(_pairs(before))
        for pair in _pairs(after):
            if pair not in known and any(before.column(name) for name in pair):
                return f"{pair[0]} and {pair[1]} were no bounds of each other, and need not fit"
    return ""


def bounds(table: Table) -> list[str]:
    """Return the numeric columns of an R-tree, low and high alternating; empty for other tables."""
    if table.virtual is None or not table.virtual.is_tree:
        return []
    return [column.name for column in table.virtual.columns[1:] if not column.mark]


def _pairs(table: Table) -> Iterator[tuple[str, str]]:
    names = bounds(table)
    yield from zip(names[::2], names[1::2], strict=False)


def renumbering(before: Table, after: Table) -> str:
    """Return what happens to the rowids: empty if each row keeps its own, else `gone` or `changed`."""
    if number_of(before) is None:
        return ""  # nothing can refer to them
    if number_of(after) is None:
        return "gone"
    column = number_column(after)
    is_kept = not column or column == number_column(before) or before.column(column) is None
    return "" if is_kept else "changed"


def needs_numbers(schema: Schema, table: Table) -> Iterator[tuple[str, Other]]:
    """Yield each trigger and view that uses the table's rowids, with its kind. Neither can be rebuilt."""
    numbers = {*table.rowids}
    name = folded(table.name)
    for kind, others in (("trigger", schema.triggers), ("view", schema.views)):
        for other in others.values():
            words = [named(word) for word in other.shape]
            # A table's own trigger reads its rows as `new` and `old`; an unqualified rowid there belongs to another
            # table.
            body = words[words.index("begin") :] if kind == "trigger" and "begin" in words else words
            rows = {"new", "old"} if other.table == name else set()
            is_qualified = any(
                words[at] in numbers and words[at - 1] == "." and words[at - 2] in {name, *rows}
                for at in range(2, len(words))
            )
            if is_qualified or (name in body and numbers & {*body}):
                yield kind, other


def indexes_over(schema: Schema, names: Set[str]) -> Iterator[Table]:
    """Yield the full-text indexes whose content is one of these tables or views."""
    for table in schema.tables.values():
        if table.virtual is not None and table.virtual.content in names:
            yield table


def losses(before: Schema, after: Schema) -> Iterator[str]:
    """Yield a sentence for each permanent loss: rows, values, and text that can only be searched."""
    for name, table in before.tables.items():
        will = after.tables.get(name)
        if will is not None and table.keeps is Keeps.OWN:
            yield from _lost_values(table, will)
        elif will is None and table.keeps in (Keeps.OWN, Keeps.UNKNOWN):
            yield f"drops the table {table.name} with all its rows"
        elif will is None and table.keeps is Keeps.NOTHING:
            yield f"drops the index {table.name}, which cannot be rebuilt from itself"


def _lost_values(table: Table, will: Table) -> Iterator[str]:
    for column in table.columns:
        other = will.column(column.name)
        if column.is_generated:
            continue
        if other is None:
            yield f"drops the column {table.name}.{column.name} with all its values"
        elif other.is_generated:
            yield f"replaces all values of {table.name}.{column.name} by what an expression gives"


def why_refused(before: Schema, after: Schema, name: str) -> str:
    """Return why a table cannot be rebuilt with its rows, in a sentence; empty if it can."""
    was, will = before.tables[name], after.tables[name]
    if (was.is_virtual or will.is_virtual) and (reason := why_not(was, will)):
        return (
            f"{was.name} cannot become what is declared with its rows kept: {reason}. Declare it under another "
            "name, fill that, and drop this one in a contract migration later"
        )
    if not (what := renumbering(was, will)):
        return ""
    known = {folded(other.name) for _, other in needs_numbers(before, was)}
    users = [f"{kind} {other.name}" for kind, other in needs_numbers(after, will) if folded(other.name) in known]
    if what == "gone":
        for index in indexes_over(after, {name}):
            virtual = index.virtual
            if virtual is not None and virtual.content_rowid in will.rowids:
                users.append(f"the full-text index {index.name}")
    if not users:
        return ""
    return (
        f"the rows of {was.name} would lose the numbers by which {', '.join(users)} knows them: give it an INTEGER "
        "PRIMARY KEY of its own that is filled from rowid, or drop what uses them first"
    )
