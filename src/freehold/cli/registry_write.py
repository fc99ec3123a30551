"""`freehold registry new` and `diff`: write the next migration, as a file to review."""

import asyncio
import importlib
import os
import sys
from pathlib import Path

import click
from msgspec import Struct

from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, registry_folder
from freehold.cli.output import JSON, echo_json, examples, tell
from freehold.migrate.rules import require_inside
from freehold.migrate.split import split
from freehold.migrate.types import BadMigration, normalise
from freehold.registry.diff.author import Drafted, blank, draft, write
from freehold.registry.diff.difference import schema_of
from freehold.registry.files import file_name, load_folder
from freehold.registry.release import app_version
from freehold.registry.types import BadRegistry

FOLDER_OPTION = click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The migrations folder; SCHEMA_REGISTRY by default.",
)


@click.command(
    epilog=examples("freehold registry new add_tags", "freehold registry new add_tags --folder schema_registry/bahar")
)
@click.argument("name")
@FOLDER_OPTION
@JSON
@async_command
async def new(name: str, folder: Path | None, as_json: bool) -> None:
    """Create the next migration as an empty file with its front matter, to be filled in.

    NAME is snake_case and says what it does. The number is the next free one; `freehold registry seal` enters it in
    registry.sum once the file has its statements.
    """
    folder = registry_folder(folder)
    migration = blank(await load_folder(folder), name)
    path = await asyncio.to_thread(write, folder, migration)
    tell(str(path), {"version": migration.version, "name": migration.name, "path": str(path)}, as_json=as_json)


@click.command(
    epilog=examples(
        "freehold registry diff add_tags --schema schema.sql",
        "freehold registry diff add_tags --schema app.models:Base --dry-run",
        "freehold registry diff drop_notes --schema app.models:metadata --min-app 2.1.0",
    )
)
@click.argument("name")
@click.option(
    "--schema",
    "declaration",
    required=True,
    help="The wanted schema: a file of CREATE statements, or SQLAlchemy metadata as module:attribute.",
)
@FOLDER_OPTION
@click.option(
    "--min-app",
    default="",
    metavar="VERSION",
    help="Write removals, too, as a contract migration; VERSION is the oldest app that works without it all.",
)
@click.option(
    "--rename",
    "renames",
    multiple=True,
    metavar="OLD=NEW",
    help="A table, or table.column, that only changes its name; without this it is dropped and created again.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 when the folder does not produce that schema.")
@click.option("--dry-run", is_flag=True, help="Print the migration and write nothing.")
@JSON
@async_command
async def diff(
    *,
    name: str,
    declaration: str,
    folder: Path | None,
    min_app: str,
    renames: tuple[str, ...],
    check: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Write the next migration from the folder's schema to a declared one, with rebuilds where SQLite needs them.

    The order of columns does not count. Purely additive changes come first, as an expand migration; a change that
    takes something away from apps in the field (a drop, a new constraint, a rename) is reported, and written with
    --min-app. The result has been tried: it produces exactly that schema. Only you can tell whether values that had
    to be made up are right. SQLAlchemy metadata need not declare views and triggers: those that it does not mention
    stay.
    """
    if min_app and app_version(min_app) is None:
        raise click.UsageError("--min-app is a version like 2.1.0")
    folder = registry_folder(folder)
    found = await asyncio.to_thread(declared, declaration)
    wanted = await schema_of(found.statements)
    if not wanted.tables:
        # An empty file is usually a failed build or a wrong path, and rarely a wish to drop everything.
        raise BadRegistry(
            [
                f"{declaration}: declares no table, so this would drop all existing ones; give the file "
                "that has the CREATE statements (to drop every table on purpose, write that migration with "
                "`freehold registry new`)"
            ]
        )
    migrations = await load_folder(folder)
    drafted = await draft(
        migrations, wanted, name, renames=_pairs(renames), min_app=min_app, is_partial=found.is_partial
    )
    path = None
    if drafted.migration is None:
        click.echo("the folder leads to this schema already" if not drafted.left else "nothing to add", err=True)
    elif check:
        click.echo(f"the folder does not lead to this schema: {file_name(drafted.migration)} would", err=True)
    elif not dry_run:
        path = await asyncio.to_thread(write, folder, drafted.migration)
    if as_json:
        echo_json(_described(drafted, path))
    elif drafted.migration is not None and not check:
        click.echo(drafted.migration.sql if path is None else str(path))
    for note in drafted.notes:
        click.echo(f"made up: {note}", err=True)
    for left in drafted.left:
        click.echo(f"left for a contract migration (--min-app): {left}", err=True)
    return EXIT_NO if check and (drafted.migration or drafted.left) else EXIT_DONE


def _described(drafted: Drafted, path: Path | None) -> dict[str, object]:
    made = drafted.migration
    return {
        "version": made and made.version,
        "name": made and made.name,
        "sql": made and made.sql,
        "path": path and str(path),
        "made_up": drafted.notes,
        "left": drafted.left,
    }


def _pairs(renames: tuple[str, ...]) -> list[tuple[str, str]]:
    found = []
    for rename in renames:
        old, equals, new_name = rename.partition("=")
        if not (old and equals and new_name):
            raise BadRegistry([f"--rename: expected OLD=NEW, got `{rename}`"])
        found.append((old, new_name))
    return found


class Declared(Struct, frozen=True):
    """The CREATE statements of a schema. `is_partial`: SQLAlchemy metadata may leave out views and triggers."""

    statements: list[str]
    is_partial: bool


def declared(declaration: str) -> Declared:
    """The schema declared in `schema.sql` or `package.module:attribute`. Blocking; imports the app's code.

    Raises:
        BadRegistry: the file or attribute does not exist, or declares no schema.
    """
    if declaration.endswith(".sql") or ":" not in declaration:
        return Declared(_of_file(Path(declaration)), is_partial=False)
    return Declared(_of_metadata(*declaration.split(":", 1)), is_partial=True)


def _of_file(path: Path) -> list[str]:
    try:
        pieces = split(normalise(path.read_text("utf-8")))
        require_inside(pieces)
        return [piece.sql for piece in pieces]
    except OSError as error:
        raise BadRegistry(
            [f"{path}: {error.strerror}; give a file of CREATE statements, or module:attribute"]
        ) from error
    except UnicodeDecodeError as error:
        raise BadRegistry([f"{path}: is not UTF-8 text"]) from error
    except BadMigration as error:
        raise BadRegistry([f"{path}: {fault}" for fault in error.faults]) from error


def _of_metadata(module_name: str, attribute: str) -> list[str]:
    from sqlalchemy import MetaData, create_mock_engine
    from sqlalchemy.dialects import sqlite
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.sql.ddl import ExecutableDDLElement

    found = _attribute(module_name, attribute)
    metadata = getattr(found, "metadata", found)  # a declarative base has it as an attribute
    if not isinstance(metadata, MetaData):
        raise BadRegistry([f"{module_name}:{attribute}: is not a SQLAlchemy MetaData and has none"])
    if not metadata.tables:
        raise BadRegistry([f"{module_name}:{attribute}: has no tables; import the modules that declare them"])
    statements: list[str] = []

    def note(ddl: ExecutableDDLElement, *_values: object) -> None:
        statements.append(_tidy(str(ddl.compile(dialect=sqlite.dialect()))))

    try:
        # create_all also runs event listeners, which may add views and triggers.
        metadata.create_all(create_mock_engine("sqlite://", note), checkfirst=False)
    except SQLAlchemyError as error:
        raise BadRegistry([f"{module_name}:{attribute}: {error}"]) from error
    return statements


def _attribute(module_name: str, attribute: str) -> object:
    # Like `python -m`: the app's packages are found from the working directory.
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # the app's code may fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise BadRegistry([f"{module_name}:{attribute}: cannot be imported ({reason})"]) from error
    return found


def _tidy(sql: str) -> str:
    """Remove tabs, trailing spaces and blank lines, so that it looks handwritten."""
    lines = [line.replace("\t", "  ").rstrip() for line in sql.strip().splitlines()]
    return "\n".join(line for line in lines if line)
