"""The settings of an FTS5 table, such as how it ranks. Source: https://www.sqlite.org/fts5.html, section 6."""

from collections.abc import Mapping, Sequence

import msgspec

from freehold.libsql.values import SqlValue
from freehold.migrate.fingerprint import ask
from freehold.migrate.names import folded, literal, quoted
from freehold.migrate.schema import Schema
from freehold.migrate.target import Target

Settings = Sequence[tuple[str, SqlValue]]


async def settings_of(target: Target, table: str) -> Settings:
    """The settings of one FTS5 table, by name. Raises as `ask` does."""
    [rows] = await ask(target, _settings_sql(table))
    return _settings(rows)


async def with_settings(target: Target, schema: Schema) -> Schema:
    """The schema together with the settings of its FTS5 tables. At most one round trip. Raises as `ask` does."""
    tables = [table for table in schema.tables.values() if table.virtual is not None and table.virtual.is_fts5]
    found = await ask(target, *(_settings_sql(table.name) for table in tables)) if tables else []
    settings: Mapping[str, Settings] = {
        folded(table.name): _settings(rows) for table, rows in zip(tables, found, strict=True) if rows
    }
    return msgspec.structs.replace(schema, settings=settings)


def _settings_sql(table: str) -> str:
    return f"SELECT k, v FROM {quoted(f'{table}_config')} WHERE k <> 'version' ORDER BY k"


def _settings(rows: Sequence[Sequence[SqlValue]]) -> Settings:
    return tuple((str(key), value) for key, value in rows)


def setting_statements(table: str, settings: Settings) -> list[str]:
    """Statements that make these settings, with every value written out, as the database's rules demand."""
    name = quoted(table)
    return [f"INSERT INTO {name} ({name}, rank) VALUES ({_literal(key)}, {_literal(value)})" for key, value in settings]


def _literal(value: SqlValue) -> str:
    return literal(value) if isinstance(value, str) else str(value)
