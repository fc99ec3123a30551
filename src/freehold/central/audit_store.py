"""The audit trail in the central database. Implements `freehold.audit.service.AuditStore`."""

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import LargeBinary, RowMapping, Select, cast, select

from freehold.audit.types import Draft, Entry, Event, Filter, Head
from freehold.central.engine import Central
from freehold.central.tables import audit_entry, audit_head

_A_TRANSACTION = 500
_TEXTS = [column.name for column in audit_entry.c if column.name != "seq"]
# As bytes: a forger may have written values that are not text, and they must be checked too.
_ENTRIES: Select[Any] = select(
    audit_entry.c.seq, *(cast(audit_entry.c[name], LargeBinary).label(name) for name in _TEXTS)
)

Waiting = tuple[Draft, asyncio.Future[None]]


class CentralAudit:
    """One per process. Events recorded while others are being written share the next transaction."""

    def __init__(self, central: Central) -> None:
        self._central = central
        self._waiting: list[Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def record(self, event: Event) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._central.draft(event), done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await done

    async def head(self) -> Head:
        async with self._central.read() as db:
            row = (await db.execute(select(audit_head.c.seq, audit_head.c.hash, audit_head.c.seal))).one()
        is_ours = self._central.has_authenticated(row.seq, row.hash, row.seal)
        return Head(seq=row.seq, hash=row.hash, is_authentic=is_ours or row.seq == 0)

    async def page(self, *, after: int, limit: int, matching: Filter | None = None) -> Sequence[Entry]:
        wanted = _matching(matching).where(audit_entry.c.seq > after).order_by(audit_entry.c.seq)
        return await self._read(wanted.limit(limit))

    async def page_back(self, *, before: int | None, limit: int, matching: Filter | None = None) -> Sequence[Entry]:
        wanted = _matching(matching).order_by(audit_entry.c.seq.desc())
        if before is not None:
            wanted = wanted.where(audit_entry.c.seq < before)
        return await self._read(wanted.limit(limit))

    async def _read(self, wanted: Select[Any]) -> Sequence[Entry]:
        async with self._central.read() as db:
            return [_entry(row) for row in (await db.execute(wanted)).mappings()]

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_A_TRANSACTION], self._waiting[_A_TRANSACTION:]
            try:
                async with self._central.write() as db:
                    await self._central.record_drafts(db, [draft for draft, _ in batch])
            except Exception as error:  # passed on to every waiting caller
                _finish(batch, error)
            else:
                _finish(batch, None)


def _finish(batch: Sequence[Waiting], error: Exception | None) -> None:
    for _, done in batch:
        if done.done():  # the caller was cancelled
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def _entry(row: RowMapping) -> Entry:
    texts = {name: bytes(row[name] or b"").decode("utf-8", "surrogateescape") for name in _TEXTS}
    return Entry(seq=row["seq"], **texts)


def _matching(wanted: Filter | None) -> Select[Any]:
    found = _ENTRIES
    if wanted is None:
        return found
    for name in ("action", "actor", "target"):
        if (value := getattr(wanted, name)) is not None:
            found = found.where(audit_entry.c[name] == value)
    if wanted.since is not None:
        found = found.where(audit_entry.c.at >= wanted.since)
    if wanted.until is not None:
        found = found.where(audit_entry.c.at < wanted.until)
    return found
