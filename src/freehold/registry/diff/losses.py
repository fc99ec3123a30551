"""What leading a database from one schema to another takes away for good."""

from collections.abc import Iterator

from freehold.migrate.names import folded
from freehold.migrate.schema import Schema, Table
from freehold.migrate.virtual import Keeps
from freehold.registry.diff.rows import indexes_over, needs_numbers, renumbering, why_not


def losses(before: Schema, after: Schema) -> Iterator[str]:
    """Sentences, each of what is lost for good: rows and values, and what can only be searched."""
    for name, table in before.tables.items():
        will = after.tables.get(name)
        if will is None:
            yield from _dropped(table)
        elif table.keeps is Keeps.OWN:
            yield from _lost_values(table, will)


def _dropped(table: Table) -> Iterator[str]:
    match table.keeps:
        case Keeps.OWN | Keeps.UNKNOWN:
            yield f"drops the table {table.name} with all its rows"
        case Keeps.NOTHING:
            yield f"drops the index {table.name}, which cannot be made again from itself"


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
    """Why a table cannot be rebuilt with its rows, in a sentence; empty if it can."""
    was, will = before.tables[name], after.tables[name]
    if (was.is_virtual or will.is_virtual) and (reason := why_not(was, will)):
        return (
            f"{was.name} cannot become what is declared with its rows kept: {reason}. Declare it under another "
            "name, fill that, and drop this one in a contract migration later"
        )
    if not (what := renumbering(was, will)):
        return ""
    known = {folded(other.name) for _, other in needs_numbers(before, was)}
    users = [
        f"{kind} {other.name}" for kind, other in needs_numbers(after, will) if folded(other.name) in known
    ]
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
