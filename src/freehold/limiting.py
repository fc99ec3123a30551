"""How often something may be done: rates, limiters, and their verdicts."""

import re
from ipaddress import IPv6Address
from typing import Protocol

from msgspec import Struct

_RATE = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})")


class Rate(Struct, frozen=True):
    """At most this many hits in a window that opens with the first; 0 hits means no limit.

    As one window may follow another, a span of this length may have twice as many hits, unless `is_exact`: that stores
    a number for each hit, so it is for small numbers.
    """

    hits: int
    window_s: int
    is_exact: bool = False

    @property
    def is_off(self) -> bool:
        return self.hits == 0


NO_LIMIT = Rate(0, 0)


class Verdict(Struct, frozen=True):
    """The result of one hit. `reset_s`: seconds until there is room again, at least 1."""

    is_allowed: bool
    remaining: int
    reset_s: int


UNLIMITED = Verdict(True, 0, 1)


class Limiter(Protocol):
    """Counts hits by key, for all processes together if they share a cache. Safe to call concurrently."""

    async def hit(self, key: str, rate: Rate) -> Verdict:
        """Count one hit on this key and say whether it is still within the rate. Never raises.

        Keys may be stored in a shared cache, so they must not contain a secret or a plain e-mail address.
        """


_SITE_BITS = 48
_SITE_TIMES = 16


async def hit_from(limiter: Limiter, network: str, what: str, rate: Rate) -> Verdict:
    """Count one hit on something costly for this network, and for the site that an IPv6 network is part of.

    Networks are as `http.client_address.network_of` returns them. A site (/48) has 65,536 of them, and is allowed as
    much as sixteen.
    """
    verdict = await limiter.hit(f"{network}|{what}", rate)
    if not verdict.is_allowed or rate.is_off or (site := site_of(network)) is None:
        return verdict
    together = await limiter.hit(f"{site}|{what}", Rate(rate.hits * _SITE_TIMES, rate.window_s, rate.is_exact))
    return verdict if together.is_allowed else together


def site_of(network: str) -> str | None:
    """The site (/48) that an IPv6 network or address is part of; None for anything else."""
    if ":" not in network:
        return None
    try:
        bits = 128 - _SITE_BITS
        return f"{IPv6Address(int(IPv6Address(network)) >> bits << bits)}/{_SITE_BITS}"
    except ValueError:
        return None


def parse_rate(text: str) -> Rate:
    """Read `100/60`, a hundred in sixty seconds, or `off`. Raises `ValueError`."""
    if text == "off":
        return NO_LIMIT
    found = _RATE.fullmatch(text.replace(" ", ""))
    if found is None:
        raise ValueError("expected NUMBER/SECONDS such as `100/60`, or `off`")
    return Rate(int(found[1]), int(found[2]))
