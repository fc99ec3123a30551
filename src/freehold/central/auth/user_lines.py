"""Users in a file, one JSON object a line. Implements `freehold.auth.importing.ports.UserSource`."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import msgspec

from freehold.auth.importing.records import CREDENTIAL, Record

_MAX_LINE = 1_000_000

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class UserLines:
    """Read once, line by line. A line that cannot be read is one user who cannot, and no more."""

    lines: IO[bytes]

    async def count(self) -> None:
        """A stream does not say how long it is."""

    async def batches(self, size: int) -> AsyncGenerator[Sequence[Record], None]:
        number = 0
        while batch := await asyncio.to_thread(self._read, size):
            yield [record_of(line, number + at) for at, line in enumerate(batch, 1) if line.strip()]
            number += len(batch)

    def _read(self, size: int) -> list[bytes]:
        lines = itertools.takewhile(bool, iter(lambda: self.lines.readline(_MAX_LINE + 1), b""))
        return list(itertools.islice(lines, size))


def record_of(line: bytes, number: int) -> Record:
    """A user from a line such as `{"email": "ada@example.com", "name": "Ada", "password": "SALT:KEY"}`.

    The user's fields are better-auth's; `accounts` and `sessions` are arrays of objects with its columns, and
    `password` is short for an account that has just a password's hash.
    """
    if len(line) > _MAX_LINE:
        return Record(user={}, fault=f"line {number} is longer than a million bytes")
    try:
        fields = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Record(user={}, fault=f"line {number} is no JSON object: {error}"[:300])
    accounts, sessions = fields.pop("accounts", None) or [], fields.pop("sessions", None) or []
    password = fields.pop("password", None)
    if not (_are_objects(accounts) and _are_objects(sessions)):
        return Record(user=fields, fault=f"line {number}: `accounts` and `sessions` are arrays of objects")
    if password:
        accounts = [*accounts, {"providerId": CREDENTIAL, "password": password}]
    return Record(user=fields, accounts=accounts, sessions=sessions)


def _are_objects(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(each, dict) for each in found)
