"""Where a central database may be, for tests that must hold in each place: a file, or a namespace of a real sqld."""

import itertools
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from testbed.sqld import Sqld, running_sqld

from freehold.central.changes import ChangeFeed, FileChanges
from freehold.central.engine import Central, open_central, open_remote_central
from freehold.central.upgrade import upgrade_central
from tests.support.central_template import as_sql, begin_file

KINDS = ("file", "sqld")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class CentralPlace:
    """Opened several times it is like several processes. It can be sent to another one."""

    path: Path | None = None
    url: str = ""
    token: str = ""

    @asynccontextmanager
    async def opened(self, mac_key: bytes = b"") -> AsyncIterator[tuple[Central, ChangeFeed]]:
        """The database at its newest schema, with its change feed."""
        self.begin()
        central = self.connect(mac_key)
        changes: ChangeFeed | None = None
        try:
            await upgrade_central(central)
            changes = ChangeFeed(central) if self.path is None else FileChanges(central, self.path)
            yield central, changes
        finally:
            if changes is not None:
                changes.close()
            await central.close()

    def connect(self, mac_key: bytes = b"") -> Central:
        """Without looking whether it is there."""
        if self.path is None:
            return open_remote_central(self.url, self.token, mac_key)
        return open_central(self.path, mac_key)

    def by_hand(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Change it behind the service's back, as another program would: one statement, or several without values."""
        if self.path is None:
            result = self._over_http(sql, values)
            assert result["type"] == "ok", result
            return
        with sqlite3.connect(self.path) as db:
            if values:
                db.execute(sql, values)
            else:
                db.executescript(sql)
        db.close()

    def begin(self) -> None:
        """Saves the migrations where nobody was before."""
        if self.path is not None:
            begin_file(self.path)
            return
        result = self._over_http(as_sql(), ())
        assert result["type"] == "ok" or "already exists" in result["error"]["message"], result

    def _over_http(self, sql: str, values: Sequence[Any]) -> Any:
        stmt = {"sql": sql, "args": [{"type": "text", "value": str(value)} for value in values]}
        request = {"type": "execute", "stmt": stmt} if values else {"type": "sequence", "sql": sql}
        base, _, name = self.url.partition("/?namespace=")
        reply = httpx.post(
            f"{base}/v3/pipeline",
            json={"requests": [request, {"type": "close"}]},
            headers={"authorization": f"Bearer {self.token}", "host": f"{name}.x"},
        )
        assert reply.status_code == 200, reply.text
        return reply.json()["results"][0]


@contextmanager
def servers(kind: str) -> Iterator[Sqld | None]:
    """The server that places of this kind need."""
    if kind == "file":
        yield None
        return
    with running_sqld() as sqld:
        yield sqld


def new_place(server: Sqld | None, folder: Path) -> CentralPlace:
    """A database that nobody has used."""
    if server is None:
        return CentralPlace(path=folder / "central.db")
    name = server.create(f"central-{next(_numbers)}")
    return CentralPlace(url=f"{server.url}/?namespace={name}", token=server.token(name))
