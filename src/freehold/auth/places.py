"""Where requests come from, as far as codes and mails care: the network that asks, for one e-mail address.

A place is told from others by a keyed hash that is another for each address, so that the tables tell nobody who was
where. It is known when someone signed in from there whose address was verified; who signed up with another's address
makes no place known by that.
"""

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from freehold.auth.lockout import WrongPasswordStore
from freehold.dates import utc_now

_DAY_MS = 24 * 3600 * 1000
_KNOWN_FOR_MS = 90 * _DAY_MS
_KEY_BYTES = 12


class Place(msgspec.Struct, frozen=True):
    """`key` stands for the place and tells nothing of it; `is_known`: the address has signed in from there."""

    key: str
    is_known: bool = False


class Places(Protocol):
    """Recognises places."""

    async def at(self, email: str, source: str) -> Place:
        """The place that this network address (`Client.source`) is for an e-mail address in lower case.

        Raises:
            CentralUnavailable: it cannot be known.
        """
        ...

    async def remember(self, email: str, source: str) -> None:
        """Someone has signed in from there, and the address is theirs. Raises as `at` does."""
        ...


def place_of(user_id: str) -> str:
    """The place of whoever is signed in as this user, wherever they are: they answer for it with their account."""
    return f"user:{user_id}"


@dataclass(frozen=True, slots=True)
class KnownPlaces:
    """Implements `Places` beside the counts of wrong passwords."""

    store: WrongPasswordStore
    secret: str
    clock: Callable[[], datetime] = utc_now

    async def at(self, email: str, source: str) -> Place:
        at_ms = await self._signed_in_at_ms(email, source)
        return Place(self._key(email, source)[:_KEY_BYTES].decode(), at_ms >= self._now_ms() - _KNOWN_FOR_MS)

    async def remember(self, email: str, source: str) -> None:
        if await self._signed_in_at_ms(email, source) < self._now_ms() - _DAY_MS:  # else it is no news
            await self.store.set_succeeded(self._row(email, source), self._now_ms())

    async def _signed_in_at_ms(self, email: str, source: str) -> int:
        row = self._row(email, source)
        found = (await self.store.find((row,))).get(row)
        return found.succeeded_at_ms if found else 0

    def _row(self, email: str, source: str) -> str:
        return f"known-{self._key(email, source).decode()}"

    def _key(self, email: str, source: str) -> bytes:
        text = "\0".join(("known-place", email, source)).encode("utf-8", "surrogatepass")
        return base64.urlsafe_b64encode(hmac.digest(self.secret.encode(), text, "sha256")).rstrip(b"=")

    def _now_ms(self) -> int:
        return int(self.clock().timestamp() * 1000)
