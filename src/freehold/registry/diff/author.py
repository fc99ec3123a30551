"""Write the next migration of a folder: an empty one, or one that leads to a declared schema."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from freehold.migrate.apply import apply
from freehold.migrate.canonical import unwrapped
from freehold.migrate.check import check_migration
from freehold.migrate.full_text_settings import with_settings
from freehold.migrate.names import folded, quoted
from freehold.migrate.schema import Schema, read_schema
from freehold.migrate.snapshot import sqlite_scratch
from freehold.migrate.types import Migration
from freehold.registry.diff.difference import CannotDiff, Difference, difference, run_all
from freehold.registry.diff.plan import Plan
from freehold.registry.diff.rows import losses
from freehold.registry.files import file_name
from freehold.registry.lint.schema_rules import DESTRUCTIVE, RENAME, REQUIRED_COLUMN, RETYPED, TIGHTENED
from freehold.registry.lint.step import Step
from freehold.registry.types import MAX_VERSION, BadRegistry

_BREAKING = (DESTRUCTIVE, RENAME, REQUIRED_COLUMN, TIGHTENED, RETYPED)


class Drafted(Struct, frozen=True):
    """The next migration, or None if the folder already leads to the declared schema.

    `notes` lists made-up values. `left` lists what would break older apps and is therefore not included: a separate
    contract migration has to do that later.
    """

    migration: Migration | None
    notes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


async def schema_at_head(migrations: Sequence[Migration]) -> Schema:
    """Return the schema that the migrations create in a fresh database."""
    async with sqlite_scratch() as target:
        await apply(target, migrations)
        return await with_settings(target, await read_schema(target))


async def draft(
    migrations: Sequence[Migration],
    declared: Schema,
    name: str,
    *,
    renames: Sequence[tuple[str, str]] = (),
    min_app: str = "",
    is_partial: bool = False,
) -> Drafted:
    """Draft the next step from the folder's schema to the declared one: what older apps tolerate first, then the rest.

    `renames` are pairs of names, `table.column` or `table`; without them a rename looks like a loss. `min_app` writes
    the rest, as a contract migration. `is_partial` keeps the views and triggers that `declared` does not name.

    Raises:
        CannotDiff: the change cannot be written automatically.
        BadRegistry: a rename is not possible or lacks `min_app`, or the earlier step has to be taken first.
    """
    head = await schema_at_head(migrations)
    if renames:
        if not min_app:
            raise BadRegistry(["a rename breaks every app that knows the old name: it needs --min-app"])
        change = await _with_renames(head, declared, renames, is_partial=is_partial)
        return Drafted(_migration(migrations, name, change, "contract", min_app), change.notes)
    if is_partial:
        declared = _completed(head, declared)
    expand = await difference(head, declared, is_additive=True)
    rest = await difference(msgspec.structs.replace(expand.result, settings=head.settings), declared)
    breaks = await _breaks(migrations, expand.result, rest)
    if not breaks:  # nothing breaks, so one step is enough
        whole = await difference(head, declared)
        return Drafted(_migration(migrations, name, whole, "expand", ""), whole.notes)
    if min_app and expand.statements:
        raise BadRegistry(["there is something to add first: write and release that without --min-app, then come back"])
    if min_app:
        return Drafted(_migration(migrations, name, rest, "contract", min_app), rest.notes)
    return Drafted(_migration(migrations, name, expand, "expand", ""), expand.notes, tuple(breaks))


def _completed(head: Schema, declared: Schema) -> Schema:
    """Return `declared` plus the folder's virtual tables, views and triggers whose tables are still declared."""
    virtual = {name: table for name, table in head.tables.items() if table.is_virtual}
    tables = {**virtual, **declared.tables}
    gone = head.tables.keys() - tables.keys()
    views = {name: view for name, view in head.views.items() if not any(unwrapped(word) in gone for word in view.shape)}
    views.update(declared.views)
    triggers = {
        name: trigger for name, trigger in head.triggers.items() if trigger.table in tables.keys() | views.keys()
    }
    return Schema(tables, declared.indexes, views, {**triggers, **declared.triggers})


async def _with_renames(
    head: Schema, declared: Schema, renames: Sequence[tuple[str, str]], *, is_partial: bool
) -> Difference:
    statements = [_rename_sql(old, new) for old, new in renames]
    renamed = await _renamed(head, statements)
    if is_partial:
        declared = _completed(renamed, declared)
    if any(renamed.views[name].sql != view.sql for name, view in head.views.items()):
        # Not every engine updates the names in a view.
        touched = frozenset(folded(old.partition(".")[0]) for old, _ in renames) & head.tables.keys()
        statements = [*(change.sql for change in Plan(head, head, touched).drops()), *statements]
        renamed = await _renamed(head, statements)
    names = {folded(old): folded(new) for old, new in renames}
    settings = {names.get(name, name): each for name, each in head.settings.items()}
    rest = await difference(msgspec.structs.replace(renamed, settings=settings), declared)
    for old, new in renames:
        if "." not in old and f"DROP TABLE {quoted(new)}" in rest.statements:
            raise CannotDiff(
                f"{old} cannot be renamed and rebuilt in one migration: write one that only renames it, from a "
                f"declared schema with {new} as {old} is now, and the rest after it"
            )
    return Difference((*statements, *rest.statements), rest.foreign_keys_off, rest.result, rest.notes)


async def _renamed(head: Schema, statements: Sequence[str]) -> Schema:
    """Return the schema after the statements. Raises `BadRegistry`."""
    kinds = (head.tables, head.indexes, head.views, head.triggers)
    async with sqlite_scratch() as target:
        made = [one.sql for kind in kinds for one in kind.values()]
        if refused := await run_all(target, [*made, *statements], is_off=True):
            raise BadRegistry([f"--rename: {refused[1]}"])
        return await read_schema(target)


def _rename_sql(old: str, new: str) -> str:
    table, dot, column = old.partition(".")
    if dot:
        return f"ALTER TABLE {quoted(table)} RENAME COLUMN {quoted(column)} TO {quoted(new)}"
    return f"ALTER TABLE {quoted(table)} RENAME TO {quoted(new)}"


async def _breaks(migrations: Sequence[Migration], before: Schema, rest: Difference) -> list[str]:
    """Return what the change would do to apps in the field, according to lint's rules."""
    if not rest.statements:
        return []
    one = _migration(migrations, "draft", rest, "expand", "")
    assert one is not None
    step = Step(one, before, rest.result, migrations)
    found = [problem.message for rule in _BREAKING for problem in rule.check(step)]
    return [*found, *(loss for loss in losses(before, rest.result) if loss.startswith("replaces"))]


def blank(migrations: Sequence[Migration], name: str) -> Migration:
    """Return a migration to be filled in by hand."""
    text = [f"-- description: {_words(name)}", "-- phase: expand", "--", "-- Why: say it for the next person.", "", ""]
    return _checked(Migration(version=len(migrations) + 1, name=name, sql="\n".join(text)))


def write(folder: Path, migration: Migration) -> Path:
    """Write the migration to the folder, never over another file. Blocking. Raises `BadRegistry`."""
    path = folder / file_name(migration)
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(migration.sql)
    except FileExistsError as error:
        raise BadRegistry([f"{path.name}: is there already"]) from error
    except OSError as error:
        raise BadRegistry([f"{path.name}: cannot be written ({error.strerror})"]) from error
    return path


def _migration(
    migrations: Sequence[Migration], name: str, change: Difference, phase: str, min_app: str
) -> Migration | None:
    if not change.statements:
        return None
    head = [f"-- description: {_words(name)}", f"-- phase: {phase}"]
    head += [f"-- min_app: {min_app}"] if min_app else []
    head += ["-- foreign_keys: off"] if change.foreign_keys_off else []
    head += ["--", "-- Why: say it for the next person."]
    # A name or a default may span lines, and the second would be taken for a statement.
    head += [f"-- Made up, look at it: {' '.join(note.split())}" for note in change.notes]
    body = "".join(f"\n{sql};\n" for sql in change.statements)
    return _checked(Migration(version=len(migrations) + 1, name=name, sql="\n".join(head) + "\n" + body))


def _checked(migration: Migration) -> Migration:
    if migration.version > MAX_VERSION:
        raise BadRegistry([f"versions go up to {MAX_VERSION}"])
    faults = [fault.reason for fault in check_migration(migration) if fault.code != "FH002"]
    if faults:
        raise CannotDiff("; ".join(faults)) if migration.pieces else BadRegistry(faults)
    return migration


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
