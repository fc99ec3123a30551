"""A mapping that forgets: the entries that were set last, up to a limit."""

from collections import OrderedDict
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Lru(OrderedDict[Key, Value]):
    """At most `limit` entries; setting one more drops the one that was set, or moved to the end, longest ago.

    Reading moves nothing, so that it costs what a dict costs: use `move_to_end` where what is read is to stay.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: Key, value: Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._limit:
            self.popitem(last=False)
