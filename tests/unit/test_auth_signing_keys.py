"""Keys that sign JWTs: made once, rotated by age and on demand, published as long as their tokens live."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm
from msgspec.structs import replace

from freehold.auth.tokens.signing_keys import STAYS_PUBLISHED, SigningKeys
from freehold.auth.types import StoredKey
from freehold.changes import Listener, Topic
from freehold.dates import to_iso
from freehold.errors import CentralUnavailable

SECRET = "s" * 32


@dataclass
class Clock:
    now: datetime = datetime(2026, 1, 31, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Keys:
    """A store in memory, with the change feed of its process or processes."""

    rows: list[StoredKey] = field(default_factory=list)
    seq: int = 0
    feeds: list["Feed"] = field(default_factory=list)
    writes: int = 0
    refused: int = 0
    is_read_only: bool = False

    async def load_keys(self) -> tuple[Sequence[StoredKey], int]:
        rows, seq = sorted(self.rows, key=lambda row: row.created_at, reverse=True), self.seq
        await asyncio.sleep(0)
        return rows, seq

    async def replace_keys(
        self, new: StoredKey, *, seen: Sequence[StoredKey], retired: Sequence[StoredKey], removed: Sequence[StoredKey]
    ) -> bool:
        await asyncio.sleep(0)
        if self.is_read_only:
            self.refused += 1
            raise CentralUnavailable("read only")
        state = {(row.key_id, row.expires_at) for row in self.rows}
        if state != {(row.key_id, row.expires_at) for row in seen}:
            return False
        gone = {row.key_id for row in removed}
        old = {row.key_id for row in retired}
        kept = [row for row in self.rows if row.key_id not in gone]
        self.rows = [replace(row, expires_at=new.created_at) if row.key_id in old else row for row in kept] + [new]
        self.seq += 1
        self.writes += 1
        return True


@dataclass
class Feed:
    """The change feed of one process."""

    store: Keys
    position: int = 0
    listeners: list[Listener] = field(default_factory=list)

    def is_current(self) -> bool:
        return self.position == self.store.seq

    async def catch_up(self) -> None:
        self.position = self.store.seq
        for listener in self.listeners:
            listener(None)

    def subscribe(self, topic: Topic, listener: Listener) -> None:
        self.listeners.append(listener)


def process(store: Keys, clock: Clock, secret: str = SECRET) -> SigningKeys:
    return SigningKeys(store, Feed(store), secret, clock=clock, max_age=timedelta(days=90))


async def test_the_first_key_is_made_once_however_many_ask() -> None:
    store, clock = Keys(), Clock()
    processes = [process(store, clock) for _ in range(4)]
    found = await asyncio.gather(*(each.signer() for each in processes for _ in range(5)))
    assert len({key.key_id for key in found}) == 1
    assert store.writes == 1


async def test_what_was_read_before_the_feed_was_followed_is_not_kept() -> None:
    store, clock = Keys(), Clock()
    feed = Feed(store, position=-1)
    keys = SigningKeys(store, feed, SECRET, clock=clock)
    old = (await keys.signer()).key_id
    clock.now += timedelta(seconds=1)
    new = await process(store, clock).rotate()
    feed.position = store.seq  # it begins to follow, and tells nobody about the past
    assert old != new
    assert [jwk["kid"] for jwk in await keys.published()] == [new, old]


async def test_a_private_key_is_not_stored_in_the_clear_and_not_shown() -> None:
    store, clock = Keys(), Clock()
    keys = process(store, clock)
    signer = await keys.signer()
    secret = signer.private_key.private_bytes_raw()
    row = store.rows[0]
    assert set(json.loads(row.public_key)) == {"crv", "x", "kty"}
    assert "d" not in (await keys.published())[0]
    sealed = bytes.fromhex(json.loads(row.private_key))
    assert secret not in sealed
    assert row.private_key not in repr(row)
    assert "private" not in repr(signer)


async def test_after_a_rotation_the_old_key_verifies_until_its_last_token_has_expired() -> None:
    store, clock = Keys(), Clock()
    keys, other = process(store, clock), process(store, clock)
    old = (await keys.signer()).key_id
    assert (await other.signer()).key_id == old
    clock.now += timedelta(seconds=1)
    new = await keys.rotate()
    assert [jwk["kid"] for jwk in await other.published()] == [new, old]
    assert (await other.signer()).key_id == new
    clock.now += STAYS_PUBLISHED - timedelta(seconds=1)
    assert [jwk["kid"] for jwk in await other.published()] == [new, old]
    clock.now += timedelta(seconds=1)
    assert [jwk["kid"] for jwk in await other.published()] == [new]
    await keys.rotate()
    assert len(store.rows) == 2, "what nobody needs any more is removed"


async def test_a_rotation_at_once_leaves_no_old_key() -> None:
    store, clock = Keys(), Clock()
    keys, other = process(store, clock), process(store, clock)
    await other.verifying()
    await keys.signer()
    await keys.rotate()
    new = await keys.rotate(at_once=True)
    assert list(await other.verifying()) == [new]
    assert [row.key_id for row in store.rows] == [new]


async def test_a_key_that_is_too_old_is_replaced_by_one_process() -> None:
    store, clock = Keys(), Clock()
    processes = [process(store, clock) for _ in range(3)]
    old = (await processes[0].signer()).key_id
    clock.now += timedelta(days=90)
    found = await asyncio.gather(*(each.signer() for each in processes))
    assert {key.key_id for key in found} != {old}
    assert len({key.key_id for key in found}) == 1
    assert store.writes == 2
    assert [jwk["kid"] for jwk in await processes[2].published()] == [found[0].key_id, old]


async def test_while_nothing_can_be_written_an_old_key_goes_on_and_nobody_waits_twice() -> None:
    store, clock = Keys(), Clock()
    keys = process(store, clock)
    old = await keys.signer()
    clock.now += timedelta(days=90)
    store.is_read_only = True
    for _ in range(5):
        assert (await keys.signer()).key_id == old.key_id
    assert store.refused == 1
    fresh = process(Keys(is_read_only=True), clock)
    for _ in range(3):
        with pytest.raises(CentralUnavailable):
            await fresh.signer()
    store.is_read_only = False
    assert (await keys.signer()).key_id == old.key_id
    clock.now += timedelta(seconds=30)
    assert (await keys.signer()).key_id != old.key_id


async def test_rotations_at_once_all_count() -> None:
    store, clock = Keys(), Clock()
    keys = [process(store, clock) for _ in range(3)]
    made = await asyncio.gather(*(each.rotate() for each in keys))
    assert len(set(made)) == 3
    assert (await keys[0].signer()).key_id in made
    assert sum(row.expires_at is None for row in store.rows) == 1


async def test_a_key_sealed_with_another_secret_is_published_but_signs_nothing() -> None:
    store, clock = Keys(), Clock()
    old = (await process(store, clock).signer()).key_id
    clock.now += timedelta(seconds=1)
    moved = process(store, clock, "t" * 32)
    new = (await moved.signer()).key_id
    assert new != old
    assert [jwk["kid"] for jwk in await moved.published()] == [new, old]
    assert (await process(store, clock).signer()).key_id == old, "the other service goes on"
    assert store.writes == 2


@pytest.mark.parametrize(
    ("public_key", "private_key", "alg"),
    [
        (ECAlgorithm.to_jwk(generate_private_key(SECP256R1()).public_key()), '"00"', "ES256"),
        ('{"kty":"OKP","crv":"Ed25519","x":"AA"}', '"00"', "EdDSA"),
        ('{"kty":"OKP","crv":"Ed25519"}', "not json", None),
        ("{}", "5", "EdDSA"),
    ],
)
async def test_a_key_of_another_kind_does_no_harm(public_key: str, private_key: str, alg: str | None) -> None:
    clock = Clock()
    row = StoredKey(key_id="odd", public_key=public_key, private_key=private_key, created_at=to_iso(clock.now), alg=alg)
    store = Keys([row])
    keys = process(store, clock)
    signer = await keys.signer()
    assert signer.key_id != "odd"
    assert set(await keys.verifying()) == {signer.key_id}
    assert {jwk["kid"] for jwk in await keys.published()} == {"odd", signer.key_id}
