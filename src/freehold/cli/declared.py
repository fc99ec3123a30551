"""A declared schema: a file of CREATE statements, or SQLAlchemy metadata in the app's own code."""

import importlib
import os
import sys
from pathlib import Path

from freehold.migrate.split import split
from freehold.migrate.types import BadMigration, normalise
from freehold.registry.types import BadRegistry


def declared_statements(declaration: str) -> list[str]:
    """The CREATE statements of `schema.sql` or `package.module:attribute`. Blocking; runs the app's code.

    Raises:
        BadRegistry: the file or the attribute is not there, or is no such thing.
    """
    if declaration.endswith(".sql") or ":" not in declaration:
        return _of_file(Path(declaration))
    return _of_metadata(*declaration.split(":", 1))


def _of_file(path: Path) -> list[str]:
    try:
        return [piece.sql for piece in split(normalise(path.read_text("utf-8")))]
    except (OSError, UnicodeDecodeError) as error:
        raise BadRegistry([f"{path}: cannot be read as UTF-8 text"]) from error
    except BadMigration as error:
        raise BadRegistry([f"{path}: {fault}" for fault in error.faults]) from error


def _of_metadata(module_name: str, attribute: str) -> list[str]:
    from sqlalchemy import MetaData
    from sqlalchemy.dialects import sqlite
    from sqlalchemy.schema import CreateIndex, CreateTable

    # As `python -m` does: the app's own packages are found from the folder in which one works.
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadRegistry([f"{module_name}:{attribute}: {error}"]) from error
    # A declarative base has its metadata.
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise BadRegistry([f"{module_name}:{attribute}: is no SQLAlchemy MetaData, nor has it any"])
    dialect = sqlite.dialect()
    statements = []
    for table in metadata.sorted_tables:
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements.append(_tidy(str(CreateTable(table).compile(dialect=dialect))))
        statements += [_tidy(str(CreateIndex(index).compile(dialect=dialect))) for index in indexes]
    return statements


def _tidy(sql: str) -> str:
    """As a person would have written it: no tabs, no space at the ends of lines."""
    lines = [line.replace("\t", "  ").rstrip() for line in sql.strip().splitlines()]
    return "\n".join(line for line in lines if line)
