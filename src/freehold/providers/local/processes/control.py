"""What goes between the supervisor and an engine: lines of JSON on a pair of sockets, and `?` for a sign of life."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

ASK = b"?"
"""Is the engine alive?"""


class Orders(Struct, frozen=True):
    """What the supervisor says: to stop, or else that another engine serves in this one's place."""

    penalties: Mapping[str, float] = {}
    stop: bool = False


class News(Struct, frozen=True, omit_defaults=True):
    """What an engine says: that it serves, that it is alive, or whose statement nothing stops."""

    is_ready: bool = False
    is_alive: bool = False
    stuck: str | None = None


encode_news = msgspec.json.Encoder().encode
decode_orders = msgspec.json.Decoder(Orders).decode
decode_news = msgspec.json.Decoder(News).decode
encode_orders = msgspec.json.Encoder().encode
