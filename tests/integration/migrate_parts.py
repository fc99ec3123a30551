"""What the tests of the migration core share: small histories, and a look at the database from outside."""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from freehold.backoff import Backoff
from freehold.libsql.protocol import Batch, BatchResult
from freehold.migrate.apply import Retries
from freehold.migrate.target import Target
from freehold.migrate.types import Migration, normalise

BAHAR = Path(__file__).parents[2] / "schema_registry" / "bahar"
QUICK = Retries(attempts=3, backoff=Backoff(base_s=0.001, cap_s=2.0, steady=0.5))


def history(*scripts: str) -> list[Migration]:
    """Migrations from version 1 on, named by their number."""
    return [Migration(version=version, name=f"step_{version}", sql=sql) for version, sql in enumerate(scripts, start=1)]


def bahar() -> list[Migration]:
    return [
        Migration(version=int(file.name[:4]), name=file.stem[5:], sql=normalise(file.read_text("utf-8")))
        for file in sorted(BAHAR.glob("*.sql"))
    ]


def numbers(last: int) -> str:
    """The beginning of a statement that reads the numbers from 1 to `last` as `i` from `n`."""
    return f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {last})"


def query(path: Path, sql: str, arguments: Iterable[Any] = ()) -> list[Any]:
    """All rows, by a connection of its own."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, tuple(arguments)).fetchall()


def change(path: Path, *statements: str) -> None:
    """Run statements with foreign keys on and commit."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        for sql in statements:
            connection.execute(sql)


def ledger_versions(path: Path) -> list[int]:
    return [version for (version,) in query(path, "SELECT version FROM freehold_ledger ORDER BY rowid")]


class Counted:
    """A target that counts its round trips, and can lose the answer of one after it ran."""

    def __init__(self, target: Target, lose: Exception | None = None) -> None:
        self.target = target
        self.lose = lose
        self.round_trips = 0
        self.sent: list[Batch] = []

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        self.round_trips += 1
        self.sent += batches
        answers = await self.target.run(batches)
        if self.lose is not None and len(batches[0].steps) > 1:
            lost, self.lose = self.lose, None
            raise lost
        return answers
