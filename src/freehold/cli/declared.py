"""A declared schema: a file of CREATE statements, or SQLAlchemy metadata in the app's own code."""

import importlib
import os
import sys
from pathlib import Path

from msgspec import Struct

from freehold.migrate.rules import require_inside
from freehold.migrate.split import split
from freehold.migrate.types import BadMigration, normalise
from freehold.registry.types import BadRegistry


class Declared(Struct, frozen=True):
    """The CREATE statements. SQLAlchemy declares tables and indexes; of others it need not know (`is_partial`)."""

    statements: list[str]
    is_partial: bool


def declared(declaration: str) -> Declared:
    """What `schema.sql` or `package.module:attribute` declares. Blocking; runs the app's code.

    Raises:
        BadRegistry: the file or the attribute is not there, or is no such thing.
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
    # A declarative base has its metadata.
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise BadRegistry([f"{module_name}:{attribute}: is no SQLAlchemy MetaData, nor has it any"])
    if not metadata.tables:
        raise BadRegistry([f"{module_name}:{attribute}: has no tables; import the modules that declare them"])
    statements: list[str] = []

    def note(ddl: ExecutableDDLElement, *_values: object) -> None:
        statements.append(_tidy(str(ddl.compile(dialect=sqlite.dialect()))))

    try:
        # As it would make the tables: with what listeners add, such as views and triggers.
        metadata.create_all(create_mock_engine("sqlite://", note), checkfirst=False)
    except SQLAlchemyError as error:
        raise BadRegistry([f"{module_name}:{attribute}: {error}"]) from error
    return statements


def _attribute(module_name: str, attribute: str) -> object:
    # As `python -m` does: the app's own packages are found from the folder in which one works.
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
    """As a person would have written it: no tabs, no space at the ends of lines."""
    lines = [line.replace("\t", "  ").rstrip() for line in sql.strip().splitlines()]
    return "\n".join(line for line in lines if line)
