"""The messages between supervisor and engine: lines of JSON on a socket pair, and `?` to ask for a sign of life."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

ASK = b"?"
"""Is the engine alive?"""


class Orders(Struct, frozen=True):
    """A message from the supervisor: stop, or else another engine has replaced this one."""

    penalties: Mapping[str, float] = {}
    stop: bool = False


class News(Struct, frozen=True, omit_defaults=True):
    """A message from an engine: it serves, it is alive, or which database has a statement that cannot be stopped."""

    is_ready: bool = False
    is_alive: bool = False
    stuck: str | None = None


encode_news = msgspec.json.Encoder().encode
decode_orders = msgspec.json.Decoder(Orders).decode
decode_news = msgspec.json.Decoder(News).decode
encode_orders = msgspec.json.Encoder().encode
