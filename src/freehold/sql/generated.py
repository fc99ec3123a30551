"""Generated columns that refer to each other: an engine writes each out where it is used, and nothing interrupts it.

Measured on both engines: of `g1 AS (g0 + g0)`, `g2 AS (g1 + g1)` and so on, the twenty-first takes a second and
400 MB, and each further one twice as much.
"""

from collections.abc import Mapping

from freehold.sql.shape import Shape

# By the table: by the column, how often each name stands in its expression. None for a table that was not read.
Columns = Mapping[str, Mapping[str, int]]
Generated = Mapping[str, Columns | None]

MAX_TERMS = 20_000  # of all columns of a table, as `SELECT *` has them


def with_generated(tables: Generated, shape: Shape) -> Generated:
    """The tables once a statement has run."""
    made = shape.made
    if made is not None:
        return {**tables, made.name: shape.generated} if shape.generated else tables
    if shape.verb != "alter":
        return tables
    after = dict(tables)
    for name in shape.writes:  # of a table that gets another name these are both
        for other in shape.writes & tables.keys():
            after[name] = tables[other]
        if shape.generated:
            before = after.get(name, {})
            after[name] = None if before is None else {**before, **shape.generated}
    return after


def too_large(tables: Generated) -> frozenset[str]:
    """The tables whose generated columns are too large once they are written out."""
    return frozenset(name for name, columns in tables.items() if columns and _terms(columns) > MAX_TERMS)


def _terms(columns: Columns) -> int:
    """How many there are in all. No engine takes columns that refer to themselves; of these it is what is reached."""
    sizes = dict.fromkeys(columns, 1)
    for _ in columns:
        before = dict(sizes)
        for name, names in columns.items():
            size = 1 + sum(count * before.get(other, 1) for other, count in names.items())
            sizes[name] = min(size, MAX_TERMS + 1)
        if sizes == before:
            break
    return sum(sizes.values())
