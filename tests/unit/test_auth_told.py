"""Copies of sessions elsewhere: believed only while nothing was told of them, and only if they are ours."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from freehold.auth.sessions.cached_sessions import CachedSessionCodec, SessionData, Strategy
from freehold.auth.sessions.cookies import SessionCookies
from freehold.auth.sessions.sessions import Invalidations, Sessions, extend_from
from freehold.auth.types import Session, SignedIn, User
from freehold.changes import Listener, Topic
from freehold.dates import to_iso
from tests.support.auth_app import SECRET

NOW = datetime(2026, 11, 21, 3, 5, tzinfo=UTC)
STRATEGIES: tuple[Strategy, ...] = ("compact", "jwt")


def signed_in(token: str = "t" * 32, user_id: str = "u" * 32, seen: int = 0, **more: Any) -> SignedIn:
    expires_at = NOW + timedelta(days=7)
    user = User(user_id=user_id, name="Ada", email="ada@example.com", created_at=to_iso(NOW), updated_at=to_iso(NOW))
    return SignedIn(
        user=replace(user, **more),
        session=Session(
            session_id="s" * 32,
            token=token,
            user_id=user_id,
            expires_at=to_iso(expires_at),
            created_at=to_iso(NOW),
            updated_at=to_iso(NOW),
        ),
        expires_at=expires_at,
        extend_from=extend_from(expires_at, NOW),
        seen=seen,
    )


class Feed:
    """A change feed whose commits a test makes; a new process reads it from `oldest`."""

    def __init__(self, committed: list[tuple[Topic, str]] | None = None, start: int = 0) -> None:
        self.committed = committed if committed is not None else []
        self.position = start
        self.listeners: list[tuple[Topic, Listener]] = []

    def is_current(self) -> bool:
        return self.position == len(self.committed)

    async def catch_up(self) -> None:
        for topic, key in self.committed[self.position :]:
            self.position += 1
            self.tell(topic, key)

    def tell(self, topic: Topic, key: str | None) -> None:
        for listened, listener in self.listeners:
            if listened == topic:
                listener(key)

    def subscribe(self, topic: Topic, listener: Listener) -> None:
        self.listeners.append((topic, listener))


async def test_a_copy_is_fresh_until_its_session_or_user_is_told_of() -> None:
    feed = Feed()
    told = Invalidations(feed)
    ada, bob = signed_in("ada-1", "ada"), signed_in("bob-1", "bob")
    assert told.is_fresh(ada)
    feed.committed += [("session", "other"), ("session", "ada-1")]
    await feed.catch_up()
    assert not told.is_fresh(ada)
    assert told.is_fresh(replace(ada, seen=2)), "read after the change"
    assert told.is_fresh(bob)
    feed.committed.append(("user", "bob"))
    await feed.catch_up()
    assert not told.is_fresh(bob)


async def test_what_is_newer_than_all_that_was_told_is_of_another_time() -> None:
    assert not Invalidations(Feed()).is_fresh(signed_in(seen=7)), "an older database was put back"
    assert not Invalidations(Feed()).is_fresh(signed_in(seen=-1))


async def test_a_process_that_began_later_believes_nothing_older_than_it_knows() -> None:
    feed = Feed([("session", "a")] * 5, start=5)
    assert not Invalidations(feed).is_fresh(signed_in(seen=4))
    whole = Feed([("session", "a")] * 5, start=0)
    told = Invalidations(whole)
    await whole.catch_up()
    assert told.is_fresh(signed_in(seen=4))
    assert not told.is_fresh(signed_in("a", seen=4))


async def test_when_the_feed_lost_its_thread_no_older_copy_is_believed() -> None:
    feed = Feed()
    told = Invalidations(feed)
    feed.committed += [("session", "a"), ("session", "b")]
    await feed.catch_up()
    assert told.is_fresh(signed_in(seen=1, token="c"))
    feed.tell("session", None)
    assert not told.is_fresh(signed_in(seen=1, token="c"))
    assert told.is_fresh(signed_in(seen=2, token="c"))


async def test_what_is_remembered_is_bounded_and_what_was_forgotten_counts_as_told() -> None:
    feed = Feed()
    told = Invalidations(feed, remembered=3)
    old = signed_in("victim", seen=0)
    feed.committed.append(("session", "victim"))
    feed.committed += [("session", f"t-{number}") for number in range(50)]
    await feed.catch_up()
    assert len(told._last) == 3
    assert not told.is_fresh(old)
    assert told.is_fresh(signed_in("quiet", seen=50))


def test_a_copy_comes_back_as_it_was_and_has_better_auths_form() -> None:
    codec, copy = CachedSessionCodec(SECRET), signed_in(seen=12, image="https://example.com/ا.png")
    text = codec.encode(copy)
    assert codec.decode(text, copy.session.token) == copy
    value = json.loads(text)
    assert value["session"]["token"] == copy.session.token
    assert value["session"]["expiresAt"] == "2026-11-28T03:05:00.000Z"
    assert "impersonatedBy" not in value["session"]
    assert value["user"]["email"] == "ada@example.com"


def test_what_we_have_not_written_is_no_copy() -> None:
    codec, copy = CachedSessionCodec(SECRET), signed_in(seen=12)
    text = codec.encode(copy)
    for spoilt in (
        text.replace(b'"role":"user"', b'"role":"admin"'),
        text.replace(b'"seen":12', b'"seen":13'),
        text[:-3] + b'0"}',
        text.partition(b',"mac"')[0] + b"}",
        CachedSessionCodec("another secret of another installation").encode(copy),
        b"",
        b"{}",
        b'{"session":{},"user":{}}',
        b',"mac":""}',
    ):
        assert codec.decode(spoilt, copy.session.token) is None
    assert codec.decode(text, "another token") is None


class Shelf:
    """Copies in a dictionary."""

    def __init__(self) -> None:
        self.copies: dict[str, SignedIn] = {}
        self.asked = 0

    async def get(self, token: str) -> SignedIn | None:
        self.asked += 1
        await asyncio.sleep(0)
        return self.copies.get(token)

    def put(self, copy: SignedIn) -> None:
        self.copies[copy.session.token] = copy

    def forget(self, token: str) -> None:
        self.copies.pop(token, None)

    def forget_user(self, user_id: str) -> None:
        self.copies = {token: copy for token, copy in self.copies.items() if copy.user_id != user_id}


class Store:
    """Sessions in a dictionary whose changes go into the feed."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.rows: dict[str, SignedIn] = {}
        self.reads = 0

    async def find_session(self, token: str) -> tuple[SignedIn | None, int]:
        self.reads += 1
        seen = len(self.feed.committed)
        found = self.rows.get(token)
        return (replace(found, seen=seen) if found else None), seen

    async def extend_session(self, token: str, expires_at: str, updated_at: str) -> bool:
        raise AssertionError

    async def delete_session(self, token: str) -> None:
        del self.rows[token]
        self.feed.committed.append(("session", token))


class InvalidatedSessions:
    def __init__(self) -> None:
        self.feed = Feed()
        self.store = Store(self.feed)
        self.shelf = Shelf()
        self.store.rows["t-1"] = signed_in("t-1")

    def process(self) -> Sessions:
        """A process of its own: its own memory, the same store and shelf, the feed from its start."""
        feed = Feed(self.feed.committed)
        self.store.feed = self.feed
        return Sessions(self.store, feed, lambda: NOW, shared=self.shelf)


async def test_what_one_process_read_spares_the_others_the_reading() -> None:
    world = InvalidatedSessions()
    assert await world.process().current("t-1") is not None
    assert await world.process().current("t-1") is not None
    assert world.store.reads == 1


async def test_a_revoked_session_is_over_though_its_copy_is_still_there() -> None:
    world = InvalidatedSessions()
    one, two = world.process(), world.process()
    await one.current("t-1")
    copy = world.shelf.copies["t-1"]
    await world.store.delete_session("t-1")
    assert await two.current("t-1") is None
    world.shelf.copies["t-1"] = copy  # written late, or by whoever was cut off when it was dropped
    assert await one.current("t-1") is None
    assert await two.current("t-1") is None
    assert await world.process().current("t-1") is None


async def test_a_session_that_is_told_of_while_its_copy_is_on_its_way_is_read_anew() -> None:
    world = InvalidatedSessions()
    one = world.process()
    await one.current("t-1")
    two = world.process()

    async def get(token: str) -> SignedIn | None:
        copy = world.shelf.copies.get(token)
        await world.store.delete_session("t-1")
        await two._changes.catch_up()
        return copy

    world.shelf.get = get  # type: ignore[method-assign]
    assert await two.current("t-1") is None


async def test_a_sign_out_drops_the_copy() -> None:
    world = InvalidatedSessions()
    one = world.process()
    await one.current("t-1")
    await world.store.delete_session("t-1")
    one.forget("t-1")
    assert world.shelf.copies == {}


async def test_a_cookie_that_is_fresh_spares_the_reading_and_a_stale_one_does_not() -> None:
    world = InvalidatedSessions()
    found = await Sessions(world.store, world.feed, lambda: NOW).current("t-1")
    assert found is not None
    assert world.store.reads == 1

    def copy() -> SignedIn | None:
        return found

    another = Sessions(world.store, Feed(world.feed.committed), lambda: NOW)
    assert await another.current("t-1", copy=copy) is found
    assert world.store.reads == 1
    await world.store.delete_session("t-1")
    assert await another.current("t-1", copy=copy) is None
    assert await another.current("t-1", copy=copy) is None


VECTORS = json.loads((Path(__file__).parents[1] / "contract/captures/cookie_cache.json").read_text())["vectors"]


def session_data(strategy: Strategy, secret: str = SECRET) -> SessionData:
    return SessionData(secret, SessionCookies(secret, "http://127.0.0.1"), strategy)


def value_of(cookies: tuple[str, ...]) -> str:
    (cookie,) = cookies
    return cookie.partition("=")[2].partition(";")[0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_better_auths_own_cookie_is_read_and_is_never_fresh(strategy: Strategy) -> None:
    vector = VECTORS[f"cookie_cache_{strategy}"]
    token = vector["session_token_cookie"].partition(".")[0]
    recorded = datetime(2026, 11, 21, 3, 3, 40, tzinfo=UTC)
    copy = session_data(strategy).read(vector["cookie_value"], token, recorded)
    assert copy is not None
    assert (copy.user.email, copy.session.token, copy.seen) == ("cache@example.com", token, -1)
    assert session_data(strategy).read(vector["cookie_value"], token, recorded + timedelta(seconds=301)) is None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_cookie_comes_back_as_it_was(strategy: Strategy) -> None:
    data = session_data(strategy)
    copy = signed_in(seen=5, name='Ädä "ا" \\ \n \u2028 /', image="data:image/png;base64,AAAA")
    cookies = data.setting(copy, NOW)
    assert cookies[0].startswith("better-auth.session_data=")
    assert cookies[0].endswith("; Max-Age=300; Path=/; HttpOnly; SameSite=Lax")
    assert data.read(value_of(cookies), copy.session.token, NOW) == copy
    assert "Max-Age" not in data.setting(copy, NOW, is_remembered=False)[0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_cookie_that_is_not_ours_or_has_expired_is_none(strategy: Strategy) -> None:
    data, copy = session_data(strategy), signed_in(seen=5)
    value = value_of(data.setting(copy, NOW))
    token = copy.session.token
    assert data.read(value, token, NOW + timedelta(seconds=301)) is None
    assert data.read(value, "another-token", NOW) is None
    assert session_data(strategy, "s" * 40).read(value, token, NOW) is None
    other: Callable[[int], str] = lambda at: value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1 :]  # noqa: E731
    for at in range(0, len(value) - 1, 7):
        assert data.read(other(at), token, NOW) is None
    for nonsense in ("", "a", "====", "..", "é", value[:-9], "e30", "bnVsbA"):
        assert data.read(nonsense, token, NOW) is None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_does_not_fit_into_a_cookie_is_not_sent(strategy: Strategy) -> None:
    assert session_data(strategy).setting(signed_in(image="x" * 4000), NOW) == ()
