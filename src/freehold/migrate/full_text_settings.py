"""What was set for an FTS5 table by one of its commands and stays, such as how it ranks.

Source: https://www.sqlite.org/fts5.html, section 6.
"""

from collections.abc import Mapping, Sequence

import msgspec

from freehold.libsql.values import SqlValue
from freehold.migrate.fingerprint import ask
from freehold.migrate.names import quoted
from freehold.migrate.schema import Schema
from freehold.migrate.target import Target

Settings = Sequence[tuple[str, SqlValue]]


async def settings_of(target: Target, table: str) -> Settings:
    """The settings of one FTS5 table, by name. Raises as `ask` does."""
    config = quoted(f"{table}_config")
    [found] = await ask(target, f"SELECT k, v FROM {config} WHERE k <> 'version' ORDER BY k")
    return tuple((str(key), value) for key, value in found)


async def with_settings(target: Target, schema: Schema) -> Schema:
    """The schema, and the settings of its FTS5 tables. Raises as `ask` does."""
    found: dict[str, Settings] = {}
    for name, table in schema.tables.items():
        if table.virtual is not None and table.virtual.is_fts5:
            found[name] = await settings_of(target, table.name)
    settings: Mapping[str, Settings] = {name: each for name, each in found.items() if each}
    return msgspec.structs.replace(schema, settings=settings)


def setting_statements(table: str, settings: Settings) -> list[str]:
    """Statements that set all this for a table, with every value written out, as databases ask for it."""
    name = quoted(table)
    return [
        f"INSERT INTO {name} ({name}, rank) VALUES ({_literal(key)}, {_literal(value)})"
        for key, value in settings
    ]


def _literal(value: SqlValue) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
