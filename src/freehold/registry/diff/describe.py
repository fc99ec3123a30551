"""The differences between two schemas, in sentences."""

from collections.abc import Iterator, Mapping

from freehold.migrate.schema import Key, Other, Schema, Table


def differences(found: Schema, wanted: Schema) -> list[str]:
    """Return how `found` deviates from `wanted`; empty if the two are the same."""
    lines = [*_tables(found.tables, wanted.tables)]
    for kind, mine, theirs in (
        ("index", found.indexes, wanted.indexes),
        ("view", found.views, wanted.views),
        ("trigger", found.triggers, wanted.triggers),
    ):
        lines += _others(kind, mine, theirs)
    for moment, names in wanted.moments.items():
        mine_in_order = [name for name in found.triggers if name in names]
        if sorted(mine_in_order) == sorted(names) and mine_in_order != names:
            lines.append(f"triggers of {moment[0]} fire in a different order: {', '.join(names)} were made in this one")
    return lines


def _tables(found: Mapping[str, Table], wanted: Mapping[str, Table]) -> Iterator[str]:
    for name in sorted(wanted.keys() - found.keys()):
        yield f"table {wanted[name].name} is missing"
    for name in sorted(found.keys() - wanted.keys()):
        yield f"table {found[name].name} should not be there"
    for name in sorted(found.keys() & wanted.keys()):
        if found[name].shape != wanted[name].shape:
            yield from _table(found[name], wanted[name])


def _table(found: Table, wanted: Table) -> Iterator[str]:
    before = {column.name: column for column in found.columns}
    after = {column.name: column for column in wanted.columns}
    count = 0
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            count += 1
            what = "is missing" if name not in before else "should not be there"
            yield f"column {wanted.name}.{name} {what if name not in before or name not in after else 'is another'}"
    for what, mine, theirs in (
        ("foreign keys", found.references, wanted.references),
        ("UNIQUE constraints", _keys(found, is_primary=False), _keys(wanted, is_primary=False)),
        ("primary key", _keys(found, is_primary=True), _keys(wanted, is_primary=True)),
        ("CHECK constraints", found.checks, wanted.checks),
        ("options", found.options, wanted.options),
    ):
        if mine != theirs:
            count += 1
            yield f"table {wanted.name} has {'another' if what == 'primary key' else 'other'} {what}"
    if not count:
        yield f"table {wanted.name} is another"


def _keys(table: Table, *, is_primary: bool) -> list[Key]:
    return [key for key in table.keys if key.is_primary is is_primary]


def _others(kind: str, found: Mapping[str, Other], wanted: Mapping[str, Other]) -> Iterator[str]:
    for name in sorted(found.keys() | wanted.keys()):
        if name not in found:
            yield f"{kind} {wanted[name].name} is missing"
        elif name not in wanted:
            yield f"{kind} {found[name].name} should not be there"
        elif found[name].shape != wanted[name].shape:
            yield f"{kind} {wanted[name].name} is another"
