"""Database tokens end with their session: what the gateway is told, from memory or not."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from freehold.auth.tokens.subjects import TokenSubject, TokenSubjects
from freehold.changes import Listener, Topic
from freehold.errors import CentralUnavailable

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ALICE = "session:alice-1"


class LiveSubjects:
    """Sessions, and the feed that tells of their ends."""

    def __init__(self) -> None:
        self.now = NOW
        self.rows: dict[str, TokenSubject] = {}
        self.committed: list[tuple[Topic, str | None]] = []
        self.position = 0
        self.listeners: list[tuple[Topic, Listener]] = []
        self.is_away = False
        self.is_recent_anyway = False
        self.reads = 0
        self.while_reading: Callable[[], None] = lambda: None

    def is_current(self) -> bool:
        return self.position == len(self.committed)

    def is_recent(self, within_s: float) -> bool:
        return self.is_recent_anyway or (self.is_current() and not self.is_away)

    async def catch_up(self) -> None:
        if self.is_away:
            raise CentralUnavailable("away")
        for topic, key in self.committed[self.position :]:
            for listened, listener in self.listeners:
                if listened == topic:
                    listener(key)
        self.position = len(self.committed)

    def subscribe(self, topic: Topic, listener: Listener) -> None:
        self.listeners.append((topic, listener))

    async def find_session_subject(self, session_id: str) -> tuple[TokenSubject | None, int]:
        if self.is_away:
            raise CentralUnavailable("away")
        self.reads += 1
        found, seen = self.rows.get(session_id), len(self.committed)
        await asyncio.sleep(0)
        self.while_reading()
        return found, seen

    async def find_key_subject(self, key_id: str) -> tuple[TokenSubject | None, int]:
        return await self.find_session_subject(key_id)

    def sign_in(self, session_id: str, user_id: str = "alice") -> None:
        self.rows[session_id] = TokenSubject(f"token-{session_id}", user_id, self.now + timedelta(days=7))

    def end(self, session_id: str) -> None:
        found = self.rows.pop(session_id)
        self.committed.append(("session", found.token))


@pytest.fixture
def world() -> LiveSubjects:
    made = LiveSubjects()
    made.sign_in("alice-1")
    return made


@pytest.fixture
def references(world: LiveSubjects) -> TokenSubjects:
    return TokenSubjects(world, world, lambda: world.now, capacity=3, patience_s=1)


async def test_a_session_is_read_once_and_then_remembered(world: LiveSubjects, references: TokenSubjects) -> None:
    for _ in range(5):
        assert await references.is_live(ALICE)
    assert world.reads == 1


async def test_its_end_is_seen_by_the_next_call(world: LiveSubjects, references: TokenSubjects) -> None:
    assert await references.is_live(ALICE)
    world.end("alice-1")
    assert not await references.is_live(ALICE)


async def test_a_change_of_the_user_is_looked_at(world: LiveSubjects, references: TokenSubjects) -> None:
    world.sign_in("alice-2")
    assert await references.is_live(ALICE)
    assert await references.is_live("session:alice-2")
    del world.rows["alice-1"]  # with the user, by a cascade that names only the user
    world.committed.append(("user", "alice"))
    assert not await references.is_live(ALICE)
    assert await references.is_live("session:alice-2")


async def test_everything_is_looked_at_again_when_the_feed_lost_its_thread(
    world: LiveSubjects, references: TokenSubjects
) -> None:
    assert await references.is_live(ALICE)
    del world.rows["alice-1"]
    world.committed.append(("session", None))
    assert not await references.is_live(ALICE)


async def test_an_end_told_while_the_row_is_on_its_way_is_not_undone(
    world: LiveSubjects, references: TokenSubjects
) -> None:
    def end_and_tell() -> None:
        world.while_reading = lambda: None
        world.end("alice-1")
        for _, listener in world.listeners:
            listener("token-alice-1")
        world.position = len(world.committed)

    world.while_reading = end_and_tell
    await references.is_live(ALICE)  # may still say yes: it was asked before the end
    assert not await references.is_live(ALICE)


async def test_an_expired_session_is_over(world: LiveSubjects, references: TokenSubjects) -> None:
    assert await references.is_live(ALICE)
    world.now += timedelta(days=8)
    assert not await references.is_live(ALICE)


async def test_other_subjects_are_not_sessions(world: LiveSubjects, references: TokenSubjects) -> None:
    for subject in ("", "test", "alice-1"):
        assert await references.is_live(subject)
    assert not await references.is_live("session:")
    assert not await references.is_live("session:nobody")
    assert not await references.is_live("key:nothing")


async def test_while_the_central_database_is_away_nothing_ends_and_nothing_new_is_believed(
    world: LiveSubjects, references: TokenSubjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.feed_cache._RECENT_S", 0.0)  # it is asked again at once
    assert await references.is_live(ALICE)
    world.is_away = True
    assert await references.is_live(ALICE)
    with pytest.raises(CentralUnavailable):
        await references.is_live("session:alice-2")
    world.is_away = False
    world.end("alice-1")
    assert not await references.is_live(ALICE)


async def test_memory_is_bounded(world: LiveSubjects, references: TokenSubjects) -> None:
    for number in range(10):
        world.sign_in(f"many-{number}")
        assert await references.is_live(f"session:many-{number}")
    assert len(references._live) <= 3
    assert await references.is_live("session:many-0")
