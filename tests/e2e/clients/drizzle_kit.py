"""`drizzle-kit push` and `pull`, the commands."""

import json
import subprocess
import tempfile
from pathlib import Path

from testbed.servers import ROOT, clean_environ, require

from tests.e2e.clients.places import Database

_NODE = ROOT / "tests/e2e/node"
_SCHEMAS = (
    """
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
export const users = sqliteTable("users", { id: integer().primaryKey(), name: text().notNull() });
export const posts = sqliteTable(
  "posts",
  { id: integer().primaryKey(), by: integer().references(() => users.id), title: text() },
  (t) => [index("posts_by").on(t.by)],
);
""",
    """
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
export const users = sqliteTable("users", { id: integer().primaryKey(), name: text().notNull(), age: integer() });
export const posts = sqliteTable(
  "posts",
  { id: integer().primaryKey(), by: integer().references(() => users.id).notNull(), title: text() },
  (t) => [index("posts_by").on(t.by)],
);
""",
)


def play_drizzle_kit(database: Database) -> dict[str, str | None]:
    """What was tried: null, or why it does not work."""
    # Below the packages, which the schema's imports are looked for in.
    with tempfile.TemporaryDirectory(prefix="kit-", dir=_NODE / "node_modules") as name:
        folder = Path(name)
        credentials = {"url": database.url, "authToken": database.token}
        config = {"dialect": "turso", "schema": "./schema.mjs", "out": "./out", "dbCredentials": credentials}
        (folder / "drizzle.config.mjs").write_text(f"export default {json.dumps(config)};\n")
        return {
            "push": _push(folder, _SCHEMAS[0], database, {"users": ["id", "name"], "posts": ["id", "by", "title"]}),
            "push a change": _push(folder, _SCHEMAS[1], database, {"users": ["id", "name", "age"]}),
            "pull": _pull(folder),
        }


def _push(folder: Path, schema: str, database: Database, expected: dict[str, list[str]]) -> str | None:
    (folder / "schema.mjs").write_text(schema)
    told = _kit(folder, "push", "--force")
    for table, columns in expected.items():
        found = _columns(database, table)
        if found != columns:
            return f"`{table}` has the columns {found}: {told}"
    return None


def _pull(folder: Path) -> str | None:
    told = _kit(folder, "pull")
    written = folder / "out/schema.ts"
    text = written.read_text() if written.exists() else ""
    wanted = ('sqliteTable("users"', "age: integer()", ".references(() => users.id)", 'index("posts_by")')
    return None if all(each in text for each in wanted) else f"{text}{told}"


def _kit(folder: Path, *words: str) -> str:
    ended = subprocess.run(
        [require("node"), _NODE / "node_modules/drizzle-kit/bin.cjs", *words, "--config", "drizzle.config.mjs"],
        cwd=folder,
        env=clean_environ(NO_COLOR="1"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return f"{ended.stdout[-2000:]}{ended.stderr[-2000:]}"


def _columns(database: Database, table: str) -> list[str]:
    [rows] = database.run(f"SELECT name FROM pragma_table_info('{table}')")
    return [row[0] for row in rows]
