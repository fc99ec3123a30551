"""What the twin remembers: groups, databases, platform tokens. In memory, and in a small file for the next start."""

import asyncio
import sqlite3
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from freehold.twin.types import Parent

# The locations that Turso serves from. Source: its documentation, 2026-06.
LOCATIONS = {
    "aws-ap-northeast-1": "AWS AP NorthEast (Tokyo)",
    "aws-ap-south-1": "AWS AP South (Mumbai)",
    "aws-eu-west-1": "AWS EU West (Ireland)",
    "aws-us-east-1": "AWS US East (Virginia)",
    "aws-us-east-2": "AWS US East (Ohio)",
    "aws-us-west-2": "AWS US West (Oregon)",
}

DEFAULT_GROUP = "default"
DEFAULT_LOCATION = "aws-us-east-1"
_SCHEMA = """CREATE TABLE IF NOT EXISTS record (
    kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, key))"""


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A group. With each rotation its databases' tokens get a new key."""

    name: str
    uuid: str
    location: str
    delete_protection: bool = False
    rotations: int = 0


class DatabaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A database. Until `ready_at_s` it is not found, if such a fault was requested."""

    name: str
    db_id: str
    group: str
    size_bytes: int
    ready_at_s: float = 0.0
    block_reads: bool = False
    block_writes: bool = False
    allow_attach: bool = False
    delete_protection: bool = False
    allowed_ips: list[str] = []
    allowed_aws_vpc_ids: list[str] = []
    parent: Parent | None = None
    rotations: int = 0


class ApiTokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A platform token; its text was shown once, only its SHA-256 is kept."""

    name: str
    id: str
    created_at: str
    digest: str
    organization: str | None = None


Record = TypeVar("Record", GroupRecord, DatabaseRecord, ApiTokenRecord)


class Shelf(dict[str, Record]):
    """Records of one kind by name. `put` and `take` are complete when they return, and survive a kill."""

    def __init__(self, kind: str, write: "Callable[[str, str, bytes | None], None]") -> None:
        super().__init__()
        self._kind = kind
        self._write = write

    async def put(self, record: Record) -> Record:
        """Store the record, replacing one with its name."""
        self[record.name] = record
        await asyncio.to_thread(self._write, self._kind, record.name, msgspec.json.encode(record))
        return record

    async def take(self, name: str) -> None:
        """Forget the record; no error if there is none."""
        self.pop(name, None)
        await asyncio.to_thread(self._write, self._kind, name, None)


class Catalogue:
    """All records. Opening and closing it blocks."""

    def __init__(self, path: Path) -> None:
        # Of the standard library, as for the central database: no other copy of SQLite may open this file.
        self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute(_SCHEMA)
        self._names: dict[str, str] = {}
        self.groups: Shelf[GroupRecord] = Shelf("group", self._write)
        self.databases: Shelf[DatabaseRecord] = Shelf("database", self._write)
        self.api_tokens: Shelf[ApiTokenRecord] = Shelf("api_token", self._write)
        for kind, key, body in self._file.execute("SELECT kind, key, body FROM record"):
            match kind:
                case "group":
                    self.groups[key] = msgspec.json.decode(body, type=GroupRecord)
                case "database":
                    self.databases[key] = msgspec.json.decode(body, type=DatabaseRecord)
                case "api_token":
                    self.api_tokens[key] = msgspec.json.decode(body, type=ApiTokenRecord)

    async def prepare(self) -> None:
        """Create the group that new organizations have."""
        if not self.groups:
            await self.groups.put(GroupRecord(name=DEFAULT_GROUP, uuid=str(uuid.uuid4()), location=DEFAULT_LOCATION))

    def by_id(self, db_id: str) -> DatabaseRecord | None:
        """The database with this id."""
        name = self._names.get(db_id)
        record = None if name is None else self.databases.get(name)
        if record is None or record.db_id != db_id:
            record = next((each for each in self.databases.values() if each.db_id == db_id), None)
            if record is not None:
                self._names[db_id] = record.name
        return record

    def of_group(self, name: str) -> list[DatabaseRecord]:
        """The databases in a group, by name."""
        found = [each for each in self.databases.values() if each.group == name]
        return sorted(found, key=lambda each: each.name)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, kind: str, key: str, body: bytes | None) -> None:
        # Several threads may call this at the same time: SQLite's connection runs one statement after another.
        if body is None:
            self._file.execute("DELETE FROM record WHERE kind = ? AND key = ?", (kind, key))
        else:
            self._file.execute("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", (kind, key, body))


def rfc3339(when: datetime | None = None) -> str:
    """The time, by default now, in UTC in Turso's format."""
    return (when or datetime.now(UTC)).isoformat().replace("+00:00", "Z")
