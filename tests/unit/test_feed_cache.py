"""What is kept of the central database, and when it is not."""

import asyncio
from collections.abc import Callable

import pytest

from freehold.changes import Topic
from freehold.errors import CentralUnavailable
from freehold.feed_cache import FeedCache, FeedCell, Follower


class Feed:
    """A change feed whose news and troubles a test decides."""

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self.listeners: list[Callable[[str | None], None]] = []
        self.trouble: Exception | None = None
        self.asked = 0
        self.recent = False

    def is_current(self) -> bool:
        return self.recent

    def is_recent(self, _within_s: float) -> bool:
        return self.recent

    async def catch_up(self) -> None:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble

    def subscribe(self, _topic: Topic, listener: Callable[[str | None], None]) -> None:
        self.listeners.append(listener)

    def tell(self, key: str | None) -> None:
        self.position += 1
        for listener in self.listeners:
            listener(key)


def test_a_cell_holds_what_was_read_while_nothing_was_told() -> None:
    feed = Feed()
    cell: FeedCell[str] = FeedCell(feed, "jwks")
    cell.keep("one", cell.begin())
    assert cell.held == "one"
    feed.tell("x")
    assert cell.held is None
    begun = cell.begin()
    feed.tell("x")
    cell.keep("old", begun)
    assert cell.held is None


def test_a_cell_holds_no_old_view_and_nothing_from_before_the_feed_is_followed() -> None:
    feed = Feed(position=-1)
    cell: FeedCell[str] = FeedCell(feed, "jwks")
    cell.keep("early", cell.begin())
    assert cell.held is None
    feed.position = 5
    cell.keep("old", cell.begin(), seen=4)
    assert cell.held is None
    cell.keep("new", cell.begin(), seen=5)
    assert cell.held == "new"
    begun = cell.begin()
    cell.forget()
    cell.keep("before we changed it", begun)
    assert cell.held is None


def cache_of(feed: Feed, *entries: tuple[str, str]) -> FeedCache[str]:
    cache: FeedCache[str] = FeedCache(feed, 3)
    for key, owner in entries:
        cache.keep(key, key.upper(), feed.position, name=f"name of {key}", owner=owner)
    return cache


def test_a_cache_forgets_by_name_and_by_owner_and_keeps_nothing_of_either() -> None:
    cache = cache_of(Feed(), ("a", "u"), ("b", "u"), ("c", "v"), ("d", "w"), ("d", "w"))
    assert [cache.get(key) for key in "abcd"] == [None, "B", "C", "D"]
    cache.forget_owner("u")
    cache.forget_owner("nobody")
    cache.forget_name("nothing")
    assert [cache.get(key) for key in "abcd"] == [None, None, "C", "D"]
    cache.forget_name("name of c")
    cache.forget_name("name of d")
    assert len(cache) == 0
    assert not cache._keys_of
    assert not cache._key_of


def test_a_cache_forgets_everything_when_the_feed_cannot_say_what() -> None:
    for forget in (FeedCache.forget_name, FeedCache.forget_owner):
        cache = cache_of(Feed(), ("a", "u"), ("b", "v"))
        forget(cache, None)
        assert len(cache) == 0


def test_a_cache_keeps_what_was_used_last_and_nothing_that_may_have_changed() -> None:
    feed = Feed()
    cache = cache_of(feed, ("a", "u"), ("b", "u"), ("c", "u"))
    assert cache.get("a") == "A"
    cache.keep("d", "D", 0, name="d", owner="u")
    assert [key in cache for key in "abcd"] == [True, False, True, True]
    feed.tell("x")
    cache.keep("e", "E", 0, name="e", owner="u")
    assert "e" not in cache


async def test_a_follower_goes_on_with_what_is_known_while_nobody_answers() -> None:
    feed = Feed()
    follower = Follower(feed, "not_checked", patience_s=0.05)
    feed.trouble = CentralUnavailable("away")
    await follower.catch_up(is_known=True)
    await follower.catch_up(is_known=True)
    assert feed.asked == 1
    with pytest.raises(CentralUnavailable, match="does not answer"):
        await follower.catch_up(is_known=False)


async def test_a_follower_does_not_wait_for_long() -> None:
    follower = Follower(Feed(), "not_checked", patience_s=0.05)

    async def read() -> None:
        await asyncio.Event().wait()  # which never comes

    with pytest.raises(CentralUnavailable):
        await follower.catch_up(is_known=False, then=read)
    await follower.catch_up(is_known=True, then=read)
