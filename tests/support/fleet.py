"""One installation with a few tenants, whose databases are files, namespaces of a real sqld, or on Turso's twin."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from testbed.sqld import Sqld, running_sqld
from testbed.sqld_service import sqld_variables
from testbed.twin import Twin, running_twin

from freehold.providers.sqld.client.keys import NamespaceKeys
from tests.integration.test_provisioning_cli import InstallationOnDisk

KINDS = ("local", "sqld", "turso")


class Fleet(InstallationOnDisk):
    """Commands run on it, and its databases are reached behind the service's back, as their users reach them."""

    kind = "local"

    def databases_of(self) -> dict[str, str]:
        """Names of the databases by tenant."""
        return dict(self.rows("SELECT id, database_name FROM tenant"))

    def provision(self, *tenant_ids: str) -> None:
        """Make them, at the newest version."""
        for tenant_id in tenant_ids:
            self.add(tenant_id, provider=self.kind)
        done = self.run("tenants", "provision")
        assert done.returncode == 0, done.stderr

    def script(self, name: str, sql: str) -> None:
        """Run a text of several statements in a database; stops at the first that fails."""
        with closing(sqlite3.connect(self.path(name))) as db:
            db.execute("PRAGMA foreign_keys = ON")
            db.executescript(sql)

    def ask(self, name: str, sql: str) -> list[tuple[Any, ...]]:
        """The rows of one query."""
        with closing(sqlite3.connect(self.path(name))) as db:
            return db.execute(sql).fetchall()

    def ruin(self, name: str) -> None:
        """Leave the database there, and nothing readable in it."""
        self.path(name).write_bytes(b"not a database at all, " * 300)

    def path(self, name: str) -> Path:
        [path] = (self.data_dir / "tenants").rglob(f"{name}.db")
        return path


class _Remote(Fleet):
    def reach(self, name: str) -> tuple[str, dict[str, str]]:
        """URL and headers for a database."""
        raise NotImplementedError

    def script(self, name: str, sql: str) -> None:
        self._call(name, {"type": "sequence", "sql": sql})

    def ask(self, name: str, sql: str) -> list[tuple[Any, ...]]:
        rows = self._call(name, {"type": "execute", "stmt": {"sql": sql}})["result"]["rows"]
        return [
            tuple(int(cell["value"]) if cell["type"] == "integer" else cell.get("value") for cell in row)
            for row in rows
        ]

    def _call(self, name: str, request: dict[str, Any]) -> Any:
        url, headers = self.reach(name)
        body = {"requests": [request, {"type": "close"}]}
        reply = httpx.post(f"{url}v3/pipeline", json=body, headers=headers, timeout=30)
        assert reply.status_code == 200, reply.text
        result = reply.json()["results"][0]
        assert result["type"] == "ok", reply.text
        return result["response"]


class _OnSqld(_Remote):
    kind = "sqld"

    def __init__(self, data_dir: Path, sqld: Sqld) -> None:
        super().__init__(data_dir)
        self.sqld = sqld
        self.environ.update(sqld_variables(sqld))

    def reach(self, name: str) -> tuple[str, dict[str, str]]:
        own = NamespaceKeys(self.sqld.key).credentials(name, "full")
        return f"{self.sqld.url}/", {"host": f"{name}.x", "authorization": f"Bearer {own.token}"}

    def ruin(self, name: str) -> None:
        self.sqld.admin("DELETE", f"/v1/namespaces/{name}").raise_for_status()


class _OnTurso(_Remote):
    kind = "turso"

    def __init__(self, data_dir: Path, twin: Twin) -> None:
        super().__init__(data_dir)
        self.twin = twin
        self.environ.update(twin.variables)

    def reach(self, name: str) -> tuple[str, dict[str, str]]:
        found = self.twin.call("GET", f"databases/{name}").json()["database"]
        return f"http://{found['Hostname']}", {"authorization": f"Bearer {self.twin.token(name)}"}

    def ruin(self, name: str) -> None:
        self.twin.call("DELETE", f"databases/{name}").raise_for_status()


@contextmanager
def fleet(kind: str) -> Iterator[Fleet]:
    """An installation with the registry published and nobody in it."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder, opened(kind, Path(folder) / "data") as place:
        done = place.run("registry", "publish")
        assert done.returncode == 0, done.stderr
        yield place


@contextmanager
def opened(kind: str, data_dir: Path) -> Iterator[Fleet]:
    """An installation without anything yet."""
    if kind == "sqld":
        with running_sqld() as sqld:
            yield _OnSqld(data_dir, sqld)
    elif kind == "turso":
        with running_twin() as twin:
            yield _OnTurso(data_dir, twin)
    else:
        yield Fleet(data_dir)
