"""Bounded memory: a mapping that forgets, and a cache for functions of short texts."""

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Lru(OrderedDict[Key, Value]):
    """At most `limit` entries; setting one more drops the one that was set, or moved to the end, longest ago.

    Reading moves nothing, so it costs the same as in a dict: call `move_to_end` where what is read should stay.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: Key, value: Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)


SHORT = 4096


def cached_if_short(count: int, longest: int = SHORT) -> Callable[[Callable[[str], Value]], Callable[[str], Value]]:
    """Cache a function's results for the last `count` texts; those longer than `longest` would fill the memory."""

    def decorate(make: Callable[[str], Value]) -> Callable[[str], Value]:
        cached = functools.lru_cache(count)(make)

        @functools.wraps(make)
        def found(text: str) -> Value:
            return cached(text) if len(text) <= longest else make(text)

        return found

    return decorate
