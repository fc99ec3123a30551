"""Reading sessions from memory: never staler than the change feed, never more than fits."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from freehold.auth.sessions.sessions import MAX_AGE, Sessions, extend_from
from freehold.auth.types import Session, SignedIn, User
from freehold.changes import Listener, Topic
from freehold.dates import to_iso
from freehold.errors import CentralUnavailable

NOW = datetime(2026, 1, 31, 10, 20, 30, 123000, tzinfo=UTC)


def signed_in(token: str = "t", user_id: str = "u", life: timedelta = timedelta(days=7), **more: str) -> SignedIn:
    expires_at = NOW + life
    return SignedIn(
        user=User(
            user_id=user_id,
            name=more.get("name", "Ada"),
            email=f"{user_id}@example.com",
            created_at=to_iso(NOW),
            updated_at=to_iso(NOW),
        ),
        session=Session(
            session_id=f"id-{token}",
            token=token,
            user_id=user_id,
            expires_at=to_iso(expires_at),
            created_at=to_iso(NOW),
            updated_at=to_iso(NOW),
        ),
        expires_at=expires_at,
        extend_from=extend_from(expires_at, NOW),
    )


class Feed:
    """A change feed whose commits a test makes."""

    def __init__(self) -> None:
        self.committed: list[tuple[Topic, str | None]] = []
        self.position = 0
        self.looks = 0
        self.listeners: list[tuple[Topic, Listener]] = []

    def is_current(self) -> bool:
        return self.position == len(self.committed)

    async def catch_up(self) -> None:
        self.looks += 1
        for topic, key in self.committed[self.position :]:
            for listened, listener in self.listeners:
                if listened == topic:
                    listener(key)
        self.position = len(self.committed)

    def subscribe(self, topic: Topic, listener: Listener) -> None:
        self.listeners.append((topic, listener))


class Store:
    """Sessions in a dictionary; every change goes into the feed, as the triggers do it."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.rows: dict[str, SignedIn] = {}
        self.reads = 0
        self.is_read_only = False
        self.while_reading: Callable[[], None] = lambda: None

    async def find_session(self, token: str) -> tuple[SignedIn | None, int]:
        self.reads += 1
        found, seen = self.rows.get(token), len(self.feed.committed)
        self.while_reading()
        await asyncio.sleep(0)
        return found, seen

    async def extend_session(self, token: str, expires_at: str, updated_at: str) -> bool:
        self._must_write()
        if token not in self.rows:
            return False
        ends = datetime.fromisoformat(expires_at)
        self.rows[token] = replace(
            self.rows[token], expires_at=ends, extend_from=extend_from(ends, ends - timedelta(7))
        )
        self.feed.committed.append(("session", token))
        return True

    async def delete_session(self, token: str) -> None:
        self._must_write()
        if self.rows.pop(token, None):
            self.feed.committed.append(("session", token))

    def _must_write(self) -> None:
        if self.is_read_only:
            raise CentralUnavailable("disk full")


class SessionsInMemory:
    def __init__(self, capacity: int = 100, max_age: timedelta = MAX_AGE) -> None:
        self.now = NOW
        self.feed = Feed()
        self.store = Store(self.feed)
        self.sessions = Sessions(self.store, self.feed, clock=lambda: self.now, capacity=capacity, max_age=max_age)

    def add(self, found: SignedIn) -> None:
        self.store.rows[found.session.token] = found


@pytest.fixture
def scene() -> SessionsInMemory:
    return SessionsInMemory()


async def test_a_session_is_read_once(scene: SessionsInMemory) -> None:
    scene.add(signed_in())
    for _ in range(3):
        found = await scene.sessions.current("t")
        assert found is not None
        assert found.user_id == "u"
    assert scene.store.reads == 1


async def test_an_unknown_token_is_asked_for_each_time(scene: SessionsInMemory) -> None:
    assert await scene.sessions.current("t") is None
    scene.add(signed_in())  # new sessions are not in the feed
    assert await scene.sessions.current("t") is not None


@pytest.mark.parametrize("change", [("session", "t"), ("user", "u"), ("session", None), ("user", None)])
async def test_a_change_is_seen_by_the_next_read(scene: SessionsInMemory, change: tuple[Topic, str | None]) -> None:
    scene.add(signed_in())
    scene.add(signed_in("other", "somebody"))
    await scene.sessions.current("t")
    await scene.sessions.current("other")
    del scene.store.rows["t"]
    scene.feed.committed.append(change)
    assert await scene.sessions.current("t") is None
    assert await scene.sessions.current("other") is not None


async def test_a_change_told_while_the_row_was_being_read_keeps_it_out_of_memory(scene: SessionsInMemory) -> None:
    scene.add(signed_in())

    def revoked_and_told_to_another_request() -> None:
        scene.store.rows.pop("t", None)
        scene.feed.committed.append(("session", "t"))
        scene.feed.position = len(scene.feed.committed)

    scene.store.while_reading = revoked_and_told_to_another_request
    await scene.sessions.current("t")
    scene.store.while_reading = lambda: None
    assert await scene.sessions.current("t") is None


async def test_a_change_committed_but_not_yet_told_while_reading_is_told_later(scene: SessionsInMemory) -> None:
    scene.add(signed_in())

    def revoked() -> None:
        scene.store.rows.pop("t", None)
        scene.feed.committed.append(("session", "t"))

    scene.store.while_reading = revoked
    await scene.sessions.current("t")
    scene.store.while_reading = lambda: None
    assert await scene.sessions.current("t") is None


async def test_expiry_is_checked_on_what_is_remembered_too(scene: SessionsInMemory) -> None:
    scene.add(signed_in(life=timedelta(hours=1)))
    assert await scene.sessions.current("t") is not None
    scene.now = NOW + timedelta(hours=1)
    assert await scene.sessions.current("t") is None
    assert scene.store.rows == {}


async def test_a_session_lives_on_when_used_after_a_day_and_not_before(scene: SessionsInMemory) -> None:
    scene.add(signed_in())
    scene.now = NOW + timedelta(hours=23, minutes=59)
    early = await scene.sessions.current("t")
    assert early is not None
    assert not early.is_extended
    scene.now = NOW + timedelta(days=1)
    kept = await scene.sessions.current("t", extend=False)
    assert kept is not None
    assert not kept.is_extended
    extended = await scene.sessions.current("t")
    assert extended is not None
    assert extended.is_extended
    assert extended.session.expires_at == to_iso(scene.now + timedelta(days=7))
    assert extended.session.updated_at == to_iso(scene.now)
    again = await scene.sessions.current("t")
    assert again is not None
    assert not again.is_extended


async def test_a_session_for_this_visit_only_never_lives_on(scene: SessionsInMemory) -> None:
    scene.add(signed_in(life=timedelta(days=1)))
    scene.now = NOW + timedelta(hours=23)
    found = await scene.sessions.current("t")
    assert found is not None
    assert not found.is_extended


async def test_a_session_revoked_in_the_moment_of_its_extension_is_gone(scene: SessionsInMemory) -> None:
    scene.add(signed_in())
    await scene.sessions.current("t")
    scene.now = NOW + timedelta(days=2)
    scene.store.rows.clear()  # not told yet
    assert await scene.sessions.current("t") is None


async def test_reading_works_while_nothing_can_be_written(scene: SessionsInMemory) -> None:
    scene.add(signed_in())
    scene.store.is_read_only = True
    scene.now = NOW + timedelta(days=2)
    found = await scene.sessions.current("t")
    assert found is not None
    assert not found.is_extended
    scene.now = NOW + timedelta(days=8)
    assert await scene.sessions.current("t") is None


async def test_memory_holds_the_sessions_read_last_and_no_more() -> None:
    scene = SessionsInMemory(capacity=10)
    for number in range(100):
        scene.add(signed_in(f"t{number}", f"u{number % 3}"))
        await scene.sessions.current(f"t{number}")
        await scene.sessions.current("t0")
    reads = scene.store.reads
    await scene.sessions.current("t0")
    await scene.sessions.current("t99")
    assert scene.store.reads == reads
    await scene.sessions.current("t50")
    assert scene.store.reads == reads + 1


async def test_a_very_large_session_is_not_kept() -> None:
    scene = SessionsInMemory()
    scene.add(signed_in("large", name="x" * 60_000))
    assert await scene.sessions.current("large") is not None
    assert scene.sessions.remembered == 0


# The end of all use ------------------------------------------------------------------------------------


async def used_for(scene: SessionsInMemory, days: int) -> int:
    """For how many days it could be used, when it was used every day."""
    for day in range(days):
        if await scene.sessions.current("t") is None:
            return day
        scene.now += timedelta(days=1)
    return days


@pytest.mark.parametrize("max_days", [1, 3, 7, 8, 30, 365])
async def test_a_session_that_is_used_every_day_ends_when_it_is_too_old(max_days: int) -> None:
    scene = SessionsInMemory(max_age=timedelta(days=max_days))
    scene.add(signed_in(life=scene.sessions.first_end(NOW, remember=True) - NOW))
    assert await used_for(scene, 400) == max_days
    assert scene.store.rows == {}


async def test_shortly_before_it_is_extended_no_more() -> None:
    scene = SessionsInMemory(max_age=timedelta(days=90))
    scene.add(signed_in())
    assert await used_for(scene, 89) == 89
    writes = len(scene.feed.committed)
    for _ in range(20):
        scene.now += timedelta(minutes=1)
        found = await scene.sessions.current("t")
        assert found is not None
        assert not found.is_extended
        assert found.expires_at == NOW + timedelta(days=90)
        assert found.session.expires_at == "2026-05-01T10:20:30.123Z"
    assert len(scene.feed.committed) == writes


async def test_one_that_was_begun_before_there_was_such_an_end_ends_too(scene: SessionsInMemory) -> None:
    scene.add(signed_in(life=timedelta(days=3)))
    scene.store.rows["t"] = older(scene.store.rows["t"], days=400)
    assert await scene.sessions.current("t") is None


async def test_no_copy_of_it_counts_either(scene: SessionsInMemory) -> None:
    copy = replace(older(signed_in(life=timedelta(days=3)), days=400), seen=0)
    scene.add(copy)
    assert await scene.sessions.current("t", copy=lambda: copy) is None


def older(found: SignedIn, *, days: int) -> SignedIn:
    created_at = to_iso(NOW - timedelta(days=days))
    return replace(found, session=replace(found.session, created_at=created_at))
