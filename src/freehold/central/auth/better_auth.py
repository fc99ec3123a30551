"""Reads an existing better-auth database: a SQLite file, or a database on a libSQL server.

Implements `freehold.auth.importing.service.UserSource`.
"""

import asyncio
import itertools
import sqlite3
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from freehold.auth.importing.records import CREDENTIAL, Record, SourceUnavailable, UnusableSource
from freehold.libsql.client import Client, create_client
from freehold.libsql.errors import LibsqlError, Refused, Unreachable

_NOT_THERE = "this is not a better-auth database: "
_Row = Mapping[str, Any]


class _Database(Protocol):
    async def query(self, sql: str, values: Sequence[Any] = ()) -> list[_Row]: ...


@dataclass(frozen=True, slots=True)
class BetterAuthDatabase:
    """Its tables `user`, `account` and `session`, with the columns of any plugins it had."""

    database: _Database

    async def count(self) -> int:
        [row] = await self.database.query('SELECT count(*) AS n FROM "user"')
        return int(row["n"])

    async def batches(self, size: int) -> AsyncGenerator[Sequence[Record], None]:
        after: Any = None
        while True:
            where, values = ("", []) if after is None else ("WHERE id > ? ", [after])
            users = await self.database.query(f'SELECT * FROM "user" {where}ORDER BY id LIMIT {size}', values)
            if users:
                yield await self._with_belongings(users)
            if len(users) < size:
                return
            after = users[-1]["id"]

    async def _with_belongings(self, users: Sequence[_Row]) -> Sequence[Record]:
        ids = [row["id"] for row in users]
        marks = ",".join("?" * len(ids))
        accounts = await self.database.query(f'SELECT * FROM "account" WHERE "userId" IN ({marks})', ids)
        # Expired ones are left out later, because dates have several formats.
        sessions = await self.database.query(f'SELECT * FROM "session" WHERE "userId" IN ({marks})', ids)
        accounts_of, sessions_of = _by_user(accounts), _by_user(sessions)
        return [Record(user=row, accounts=accounts_of[row["id"]], sessions=sessions_of[row["id"]]) for row in users]


@asynccontextmanager
async def open_better_auth(url: str, auth_token: str | None = None) -> AsyncIterator[BetterAuthDatabase]:
    """Open the database at a path, a `file:` URL, or a `libsql:`, `https:` or `http:` URL.

    Raises:
        UnusableSource: there is none, or it is not a better-auth database.
        SourceUnavailable: it does not answer.
    """
    if urlsplit(url).scheme in {"libsql", "https", "http", "wss", "ws"}:
        try:
            client = create_client(url, auth_token=auth_token)
        except LibsqlError as error:
            raise UnusableSource(f"the URL cannot be used: {error.explanation}") from error
        try:
            yield BetterAuthDatabase(_Server(client))
        finally:
            await client.close()
        return
    file = await asyncio.to_thread(_open_file, url)
    try:
        yield BetterAuthDatabase(_File(file))
    finally:
        await asyncio.to_thread(file.close)


def _open_file(url: str) -> sqlite3.Connection:
    path = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else Path(url)
    if not path.is_file():
        raise UnusableSource(f"there is no file `{path}`")
    try:
        file = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        file.row_factory = sqlite3.Row
        file.execute("PRAGMA query_only = ON")
        # A transaction, for one consistent snapshot while others write.
        file.execute("BEGIN")
        file.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:
        raise UnusableSource(f"{_NOT_THERE}{error}") from error
    return file


class _File:
    def __init__(self, file: sqlite3.Connection) -> None:
        self._file = file

    async def query(self, sql: str, values: Sequence[Any] = ()) -> list[_Row]:
        return await asyncio.to_thread(self._query, sql, values)

    def _query(self, sql: str, values: Sequence[Any]) -> list[_Row]:
        try:
            return [dict(row) for row in self._file.execute(sql, values)]
        except sqlite3.OperationalError as error:
            raise UnusableSource(f"{_NOT_THERE}{error}") from error
        except sqlite3.Error as error:
            raise UnusableSource(f"the file cannot be read: {error}") from error


class _Server:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def query(self, sql: str, values: Sequence[Any] = ()) -> list[_Row]:
        try:
            found = await self._client.execute(sql, list(values))
        except Unreachable as error:
            raise SourceUnavailable from error
        except Refused as error:
            raise UnusableSource(
                f"the database refused the request with status {error.status}; check the URL and the token"
            ) from error
        except LibsqlError as error:
            raise UnusableSource(f"{_NOT_THERE}{error.explanation}") from error
        return [row.asdict() for row in found.rows]


def _by_user(rows: Sequence[_Row]) -> Mapping[Any, list[_Row]]:
    found: defaultdict[Any, list[_Row]] = defaultdict(list)
    for row in rows:
        found[row["userId"]].append(row)
    return found


# Users in a file, one JSON object per line. Implements `freehold.auth.importing.service.UserSource`.

_MAX_LINE = 1_000_000

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class UserLines:
    """Read once, line by line. A line that cannot be read affects only its own user."""

    lines: IO[bytes]

    async def count(self) -> None:
        """Unknown for a stream."""

    async def batches(self, size: int) -> AsyncGenerator[Sequence[Record], None]:
        number = 0
        while batch := await asyncio.to_thread(self._read, size):
            yield [record_of(line, number + at) for at, line in enumerate(batch, 1) if line.strip()]
            number += len(batch)

    def _read(self, size: int) -> list[bytes]:
        lines = itertools.takewhile(bool, iter(lambda: self.lines.readline(_MAX_LINE + 1), b""))
        return list(itertools.islice(lines, size))


def record_of(line: bytes, number: int) -> Record:
    """The user from a line such as `{"email": "ada@example.com", "name": "Ada", "password": "SALT:KEY"}`.

    The user's fields are better-auth's; `accounts` and `sessions` are arrays of objects with its columns, and
    `password` is short for an account with only a password hash.
    """
    if len(line) > _MAX_LINE:
        return Record(user={}, fault=f"line {number} is longer than a million bytes")
    try:
        fields = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Record(user={}, fault=f"line {number} is not a JSON object: {error}"[:300])
    accounts, sessions = fields.pop("accounts", None) or [], fields.pop("sessions", None) or []
    password = fields.pop("password", None)
    if not (_are_objects(accounts) and _are_objects(sessions)):
        return Record(user=fields, fault=f"line {number}: `accounts` and `sessions` are arrays of objects")
    if password:
        accounts = [*accounts, {"providerId": CREDENTIAL, "password": password}]
    return Record(user=fields, accounts=accounts, sessions=sessions)


def _are_objects(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(each, dict) for each in found)
