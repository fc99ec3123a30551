"""How entries are chained; documented in `docs/audit.md`, so that anyone can verify the trail."""

import hashlib
import hmac
from collections.abc import Iterable, Sequence

import msgspec

from freehold.audit.origin import Origin
from freehold.audit.types import MAX_DETAILS_CHARS, AuditDetailsTooLarge, Draft, Entry, Event


def draft(event: Event, origin: Origin, at: str) -> Draft:
    """The entry to store for an event, with the details of its origin.

    Raises:
        AuditDetailsTooLarge: more than 4,000 characters.
    """
    details = dict(event.details)
    if origin.acts_as is not None and event.actor is None:
        details["acts_as"] = origin.acts_as
    text = msgspec.json.encode(details).decode()
    if len(text) > MAX_DETAILS_CHARS:
        raise AuditDetailsTooLarge(f"the details of `{event.action}` have {len(text)} characters")
    return Draft(
        at=at,
        action=event.action,
        actor=origin.actor if event.actor is None else event.actor,
        target=event.target,
        ip_address=origin.ip_address,
        request_id=origin.request_id,
        details=text,
    )


def chained(previous: str, after: int, drafts: Iterable[Draft]) -> Sequence[Entry]:
    """The drafts as consecutive entries after entry `after`, which has the hash `previous` (empty if there is none)."""
    entries = []
    for seq, each in enumerate(drafts, after + 1):
        previous = entry_hash(previous, seq, each)
        entries.append(Entry(**msgspec.structs.asdict(each), seq=seq, hash=previous))
    return entries


def entry_hash(previous: str, seq: int, entry: Draft) -> str:
    """SHA-256 in hex over netstrings, so that no two different entries produce the same bytes."""
    fields = (
        previous,
        str(seq),
        entry.at,
        entry.action,
        entry.actor,
        entry.target,
        entry.ip_address,
        entry.request_id,
        entry.details,
    )
    # Text from a forger may not even be UTF-8.
    texts = (field.encode("utf-8", "surrogateescape") for field in fields)
    return hashlib.sha256(b"".join(b"%d:%s," % (len(text), text) for text in texts)).hexdigest()


def mac_key(secret: str) -> bytes:
    """The key for `mac`, derived from the service's secret, which is not in the database."""
    return hmac.new(secret.encode(), b"freehold audit head", "sha256").digest()


def mac(key: bytes, seq: int, newest_hash: str) -> str:
    """A MAC of the head, which only someone with the key can compute."""
    return hmac.new(key, f"{seq}:{newest_hash}".encode(), "sha256").hexdigest()


def is_authentic(key: bytes, seq: int, newest_hash: str, found: str) -> bool:
    """Whether `found` is the head's MAC."""
    return hmac.compare_digest(mac(key, seq, newest_hash).encode(), found.encode("utf-8", "surrogateescape"))
