"""Rules about schema changes, found by comparing the schema before and after a migration."""

from collections.abc import Iterator, Set

from freehold.migrate.canonical import unwrapped
from freehold.migrate.schema import Column, ForeignKey, Key, Table
from freehold.migrate.table_text import table_text
from freehold.registry.diff.plan import fits_rows
from freehold.registry.diff.values import takes_rows
from freehold.registry.lint.findings import Problem, Rule
from freehold.registry.lint.step import Step


def _destructive(step: Step) -> Iterator[Problem]:
    if step.release.is_contract:
        return
    renamed = {old for one in step.statements for old, _ in [one.renamed] if old}
    for name, table in step.before.tables.items():
        if name not in step.after.tables:
            if name not in renamed:
                yield Problem(f"table {table.name} is dropped, with all its rows", step.number_of("drop", name))
            continue
        for column in _lost_columns(step, table, step.after.tables[name]):
            at = step.number_of("alter", name, column.name) or step.number_of("drop", name)
            values = "" if column.is_generated else ", with all its values"
            yield Problem(f"column {table.name}.{column.name} is gone{values}", at)
    for name, view in step.before.views.items():
        if name not in step.after.views:
            yield Problem(f"view {view.name} is dropped", step.number_of("drop", name))


def _lost_columns(step: Step, before: Table, after: Table) -> Iterator[Column]:
    for column in before.columns:
        is_renamed = any(
            one.renamed_column[1] == column.name and after.column(one.renamed_column[2]) for one in step.statements
        )
        if after.column(column.name) is None and not is_renamed:
            yield column


DESTRUCTIVE = Rule(
    code="FH101",
    slug="destructive-change",
    why="It drops a table, a column or a view. Apps in the field may still use it, and its rows cannot be recovered: "
    "migrations only go forward.",
    fix="Stop using it first. Drop it in a later release, in a separate file that says `-- phase: contract` and `-- "
    "min_app:` with the first app that does not need it.",
    check=_destructive,
)


def _renames(step: Step) -> Iterator[Problem]:
    for one in () if step.release.is_contract else step.statements:
        old, new = one.renamed
        table, column, other = one.renamed_column
        if old in step.before.tables and old not in step.after.tables:
            yield Problem(f"table {old} is called {new} from here on", one.number)
        elif table in step.before.tables:
            yield Problem(f"column {table}.{column} is called {other} from here on", one.number)


RENAME = Rule(
    code="FH102",
    slug="rename",
    why="Apps that know the old name fail as soon as it is applied, and apps that know the new one fail until then. "
    "There is no time at which both work.",
    fix="Add the new table or column and fill it, let apps write both, and drop the old one in a later `contract` "
    "migration. Or rename in a `contract` migration whose `min_app` is the first app that knows both names.",
    check=_renames,
)


def _required_columns(step: Step) -> Iterator[Problem]:
    for name, table in step.after.tables.items():
        before = step.before.tables.get(name)
        if before is None or step.release.is_contract:
            continue
        for column in table.columns:
            was = before.column(column.name)
            is_required = column.not_null and column.default is None and not column.is_generated
            was_required = was is not None and was.not_null and was.default is None
            is_rowid = column.primary == 1 and column.type == "integer"
            if is_required and not was_required and not is_rowid:
                yield Problem(
                    f"{table.name}.{column.name} is NOT NULL without a default now, so an INSERT of an older app "
                    "that does not name it fails",
                    step.number_of(name, column.name) or step.number_of(f"{name}_new", column.name),
                )


REQUIRED_COLUMN = Rule(
    code="FH103",
    slug="required-column",
    why="A column of an existing table becomes NOT NULL and has no default. Apps that do not know it can no longer "
    "insert rows, and SQLite refuses to add such a column to a table with rows.",
    fix="Give it a DEFAULT, or leave it nullable until every app in the field writes it and then require it in a "
    "`contract` migration.",
    check=_required_columns,
)


def _tightened(step: Step) -> Iterator[Problem]:
    if step.release.is_contract:
        return
    for name, table in step.after.tables.items():
        before = step.before.tables.get(name)
        if before is None:
            continue
        known = _written_before(before, table)
        # A check on new columns alone refuses nothing that older apps write.
        checks = [
            check
            for check in table.checks
            if check not in before.checks and known & {unwrapped(word) for word in check}
        ]
        uniques = [key for key in table.keys if _is_stricter_key(key, before, table, known)]
        keys = [key for key in table.foreign_keys if _is_stricter_reference(key, before) and known & {*key.columns}]
        # Without a default it is a required column (FH103); with one, it still refuses a NULL that an app writes.
        filled = [column for column in table.columns if column.not_null and _is_filled_now(before, column, known)]
        stricter = ["strict"] if "strict" in table.options and "strict" not in before.options else []
        for what, found in (
            ("CHECK", checks), ("UNIQUE", uniques), ("FOREIGN KEY", keys), ("NOT NULL", filled), ("STRICT", stricter),
        ):  # fmt: skip
            if found:
                yield Problem(
                    f"{table.name} gets {len(found)} new {what} constraint(s) on columns that older apps write",
                    step.number_of("create", "table") or step.number_of("alter", name),
                )
    for name, index in step.after.indexes.items():
        if index.table in step.before.tables and _is_new(step, name) and index.shape[1] == "unique":
            yield Problem(f"{index.table} gets a new UNIQUE index", step.number_of("create", "unique", name))


def _written_before(before: Table, table: Table) -> Set[str]:
    """Return the columns that existed and those computed from them: older apps fill both."""
    found = {column.name for column in before.columns}
    texts = {} if table.is_virtual else table_text(table.sql).columns
    count = -1
    while count != len(found):
        count = len(found)
        found |= {name for name, text in texts.items() if found & {unwrapped(word) for word in text.generated}}
    return found


def _is_stricter_key(key: Key, before: Table, table: Table, written: Set[str]) -> bool:
    """Return whether a PRIMARY KEY or UNIQUE refuses rows that were accepted before."""
    if not key.parts:  # it is the rowid
        return before.column(table.number) is not None and before.number != table.number
    collations = {part.column: part.collation for part in key.parts}
    if not written & collations.keys():
        return False
    for other in before.keys:
        known = {part.column: part.collation for part in other.parts} or {before.number: "binary"}
        # Unique if fewer columns already were. Any collation but BINARY treats more texts as equal.
        if known.keys() <= collations.keys() and all(
            collations[name] in (collation, "binary") for name, collation in known.items()
        ):
            return False
    return True


def _is_stricter_reference(key: ForeignKey, before: Table) -> bool:
    """Return whether a foreign key is new, or no longer deferred."""
    return not any(
        (other.columns, other.parent) == (key.columns, key.parent)
        and (other.parent_columns == key.parent_columns or not (other.parent_columns and key.parent_columns))
        and (key.is_deferred or not other.is_deferred)
        for other in before.foreign_keys
    )


def _is_filled_now(before: Table, column: Column, known: Set[str]) -> bool:
    """Return whether a NULL that was accepted is now refused, although an app may omit the column."""
    was = before.column(column.name)
    if column.is_generated:
        return column.name in known and (was is None or not was.not_null)
    return column.default is not None and was is not None and not was.not_null and not was.primary


def _is_new(step: Step, index: str) -> bool:
    was = step.before.indexes.get(index)
    return was is None or was.shape != step.after.indexes[index].shape


TIGHTENED = Rule(
    code="FH104",
    slug="tightened-constraint",
    why="An existing table accepts less than before: it has a new CHECK, UNIQUE, FOREIGN KEY or NOT NULL, or is now "
    "STRICT. Existing rows may violate it, which stops the migration in that database, and apps in the field may still "
    "write such rows.",
    fix="Correct the rows in this migration, make sure that no app in the field writes what will be refused, and say "
    "`-- phase: contract`; or waive it with the reason why no app does.",
    check=_tightened,
)


def _index_on_existing(step: Step) -> Iterator[Problem]:
    for name, index in step.after.indexes.items():
        rebuilt = step.before.tables.get(index.table) is not None and any(
            new == index.table for one in step.statements for _, new in [one.renamed]
        )
        if _is_new(step, name) and index.table in step.before.tables and not rebuilt:
            yield Problem(
                f"index {index.name} is built over all rows of {index.table} at once",
                step.number_of("create", "index", name),
            )


INDEX_ON_EXISTING = Rule(
    code="FH105",
    slug="index-on-existing-table",
    severity="warning",
    why="Building an index reads and sorts the whole table while it holds the write lock. On a phone with a large "
    "table, the app cannot write for seconds.",
    fix="Create the index in the migration that creates the table. If the table stays small or the wait is acceptable, "
    "waive it and say how large the table gets.",
    check=_index_on_existing,
)


def _retyped(step: Step) -> Iterator[Problem]:
    for name, table in step.after.tables.items():
        before = step.before.tables.get(name)
        if before is None or step.release.is_contract:
            continue
        for column in table.columns:
            was = before.column(column.name)
            if was and not column.is_generated and before.affinity_of(was) != table.affinity_of(column):
                yield Problem(
                    f"{table.name}.{column.name} was {_kind(before, was)} and is {_kind(table, column)} now",
                    step.number_of(name, column.name) or step.number_of(f"{name}_new", column.name),
                )


def _kind(table: Table, column: Column) -> str:
    is_any = not column.type or (column.type == "any" and table.affinity_of(column) == "blob")
    return "of any type" if is_any else column.type


RETYPED = Rule(
    code="FH114",
    slug="retyped-column",
    why="A column gets a type of another affinity, so its values are converted: the number 7 becomes the text '7'. "
    "Apps in the field read something other than what they wrote.",
    fix="Add a column of the new type and fill it, let apps write both, and drop the old one in a later `contract` "
    "migration. Or say `-- phase: contract`.",
    check=_retyped,
)


def _refused_with_rows(step: Step) -> Iterator[Problem]:
    for one in step.statements:
        name, added = one.added_column
        table = step.after.tables.get(name)
        column = table.column(added) if table and name in step.before.tables else None
        if table is None or column is None:
            continue
        is_reference = any(column.name in key.columns for key in table.foreign_keys)
        if not fits_rows(column, is_reference=is_reference) or not takes_rows(table, column, one.column_text):
            yield Problem(f"{name}.{added} cannot be added to a table that has rows", one.number)


REFUSED_WITH_ROWS = Rule(
    code="FH115",
    slug="refused-with-rows",
    why="ALTER TABLE cannot add a column to a table with rows if it is NOT NULL without a default, has a default that "
    "is not constant (CURRENT_TIMESTAMP, an expression), REFERENCES with a default other than NULL, is STORED, or has "
    "a CHECK that its default fails. It can in an empty database, so new tenants get the column and all others are "
    "stuck.",
    fix="Give it a constant default or none, or rebuild the table. `freehold registry diff` writes the rebuild.",
    check=_refused_with_rows,
)

SCHEMA_RULES = (
    DESTRUCTIVE, RENAME, REQUIRED_COLUMN, TIGHTENED, INDEX_ON_EXISTING, RETYPED, REFUSED_WITH_ROWS,
)  # fmt: skip
