"""Adds to the audit trail inside a transaction that is open. See docs/audit.md for what the rows promise."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.chain import chained, draft, is_authentic, mac
from freehold.audit.origin import Origin
from freehold.audit.types import RESEALED, STARTED, SYSTEM, Draft, Event
from freehold.central.tables import audit_head
from freehold.log import get_logger

_COLUMNS = (*Draft.__struct_fields__, "seq", "hash", "previous", "seal")
_APPEND = text(
    f"INSERT INTO audit_append ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
)
_HEAD = select(audit_head.c.seq, audit_head.c.hash, audit_head.c.seal)

log = get_logger()


async def append(db: AsyncConnection, drafts: Sequence[Draft], key: bytes) -> None:
    """Add these to the trail, in this order. The transaction must hold the write lock, as `Central.write` does."""
    seq, newest, found = (await db.execute(_HEAD)).one()
    if not is_authentic(key, seq, newest, found):
        drafts = [_restarted(seq, drafts[0].at), *drafts]
    rows = []
    previous = newest
    for entry in chained(newest, seq, drafts):
        rows.append(
            {
                **msgspec.structs.asdict(entry),
                "previous": previous,
                "seal": mac(key, entry.seq, entry.hash),
            }
        )
        previous = entry.hash
    await db.execute(_APPEND, rows if len(rows) > 1 else rows[0])


def _restarted(seq: int, at: str) -> Draft:
    """A head that is not ours is not covered up: the trail says itself where that happened."""
    if seq:
        log.error("audit.head_not_ours", seq=seq)
    return draft(Event(RESEALED if seq else STARTED, actor=SYSTEM), Origin(), at)
