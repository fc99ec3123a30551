"""A second, small service beside the one that everybody attacks, for what takes other settings or a past.

Addresses must be verified. Sessions began longer ago than any may last, and guests have not been back for long: they
were made before, and aged in the central database while the service was down. It starts again when the hostile people
do, so guests are removed meanwhile.
"""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from testbed.hostile.aged import WAYS
from testbed.hostile.bystanders import PATIENCE_S, Bystanders, outbox_of
from testbed.hostile.roles import STRANGERS
from testbed.hostile.served import Served

MAX_DAYS, GUEST_DAYS = 30, 7
# More than go at once.
_GONE = 60
_OWNER = "somebody-from-before@example.com"


class Strict(Served):
    """`furnish` it while nobody does harm, and `start` it when they do; `left` is what should not be there then."""

    def __init__(self, folder: Path, kind: str) -> None:
        more = {"EMAIL_VERIFICATION": "required", "SESSION_MAX_DAYS": str(MAX_DAYS), "GUEST_DAYS": str(GUEST_DAYS)}
        super().__init__(folder, kind, "rows", **more)
        self.too_old: list[dict[str, str]] = []
        self.gone: list[dict[str, str]] = []
        self.comes_back: dict[str, Any] = {}

    @property
    def central(self) -> Path:
        return self.data_dir / ("sqld/central.db" if self.kind == "sqld" else "central.db")

    async def furnish(self, http: aiohttp.ClientSession) -> None:
        """Make what is to be old, end the service and age it."""
        await asyncio.to_thread(self.start)
        people = Bystanders(self.url, outbox_of(self.data_dir), http)
        self.comes_back = {**await people.guest("192.0.2.200", "rows"), "rows": 0}
        await people.write_and_read(self.comes_back)
        self.gone = await asyncio.gather(*(self._guest(people, number) for number in range(_GONE)))
        await self._owner(people)
        for number in range(WAYS):
            self.too_old.append(await self._session(people, number))
        code = await asyncio.to_thread(self.stop)
        assert code == 0, self.log()[-3000:]
        await asyncio.to_thread(self._age)

    def handed_to(self, number: int) -> dict[str, Any]:
        """What this hostile person has got hold of."""
        return {
            "url": self.url,
            "outbox": str(outbox_of(self.data_dir).path),
            "too_old": self.too_old,
            "gone": [self.gone[(number * WAYS + each) % _GONE] for each in range(WAYS)],
        }

    async def left(self, http: aiohttp.ClientSession) -> list[str]:
        """What there still is of guests who have not come back, or is not of the one who has."""
        trail = await asyncio.to_thread(self._removals)
        assert trail.returncode == 0, trail.stderr
        removed = trail.stdout.count('"departed"')
        found = [] if removed == _GONE else [f"{removed} of {_GONE} guests were removed"]
        names = {path.name for path in self.data_dir.rglob("*")}
        kept = [each["path"] for each in self.gone if self._has_database(each["path"], names)]
        found += [f"{len(kept)} databases of guests who are gone"] if kept else []
        if not self._has_database(urlsplit(self.comes_back["database_url"]).path, names):
            found.append("no database of the guest who came back")
        if not found:  # a key that works would be a way to come back
            opened = 0
            for each in self.gone:
                told = {"x-api-key": each["key"], "x-forwarded-for": "192.0.2.201"}
                async with http.get(f"{self.url}/databases/user", headers=told) as reply:
                    opened += reply.status != 401
            found += [f"{opened} keys of guests who are gone"] if opened else []
        return found

    def _removals(self) -> CompletedProcess[str]:
        words = ("audit", "list", "--action", "user.removed", "--json")
        return self.run(*words, DATABASE_URL=f"sqlite:///{self.central}")

    @staticmethod
    def _has_database(path: str, names: set[str]) -> bool:
        """`path` is that of its URL; names of files and folders begin with the database's."""
        name = path.strip("/").rpartition("/")[2]
        return any(each.partition(".")[0] == name for each in names)

    async def _guest(self, people: Bystanders, number: int) -> dict[str, str]:
        address = f"203.0.113.{number}"
        guest = await people.guest(address, "rows")
        key = await people.call("POST", "/api/auth/api-key/create", address, {"name": "x"}, guest["session"])
        return {**_held(guest), "key": key["key"]}

    async def _owner(self, people: Bystanders) -> None:
        body = {"name": "x", "email": _OWNER, "password": STRANGERS}
        await people.call("POST", "/api/auth/sign-up/email", "192.0.2.202", body)
        token = await asyncio.to_thread(people.outbox.token, _OWNER)
        async with people.http.get(f"{self.url}/api/auth/verify-email", params={"token": token}) as reply:
            assert reply.status == 200, await reply.text()

    async def _session(self, people: Bystanders, number: int) -> dict[str, str]:
        address = f"192.0.2.{210 + number}"
        known = {"email": _OWNER, "password": STRANGERS}
        session = (await people.call("POST", "/api/auth/sign-in/email", address, known))["token"]
        pair = await people.call("POST", "/api/auth/login", address, known)
        held = {"session": session, **await people.database(session, address)}
        return {**_held(held), "refresh": pair["refresh_token"]}

    def _age(self) -> None:
        """Make guests idle since long ago, and sessions begun before any that may still last."""
        now = datetime.now(UTC)
        begun, long_ago = _iso(now - timedelta(days=MAX_DAYS + 1)), _iso(now - timedelta(days=900))
        with closing(sqlite3.connect(self.central, timeout=PATIENCE_S)) as db, db:
            db.execute(
                "CREATE TEMP TABLE gone AS SELECT u.id FROM user u JOIN session s ON s.userId = u.id"
                " WHERE u.isAnonymous AND s.token <> ?",
                (self.comes_back["session"],),
            )
            for sql, rows, values in (
                ("UPDATE user SET createdAt = ?1, updatedAt = ?1 WHERE isAnonymous", _GONE + 1, (long_ago,)),
                (
                    "UPDATE session SET createdAt = ?1, updatedAt = ?1, expiresAt = ?1"
                    " WHERE userId IN (SELECT id FROM gone)",
                    _GONE,
                    (long_ago,),
                ),
                (
                    "UPDATE apikey SET createdAt = ?1, updatedAt = ?1 WHERE referenceId IN (SELECT id FROM gone)",
                    _GONE,
                    (long_ago,),
                ),
                (
                    "UPDATE session SET createdAt = ?1 WHERE userId IN (SELECT id FROM user WHERE email = ?2)",
                    2 * WAYS + 1,
                    (begun, _OWNER),
                ),
            ):
                assert db.execute(sql, values).rowcount == rows, sql


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _held(person: dict[str, Any]) -> dict[str, str]:
    path = urlsplit(person["database_url"]).path
    return {"session": person["session"], "token": person["token"], "path": path}
