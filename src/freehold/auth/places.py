"""The places that requests come from: a place is a network, as seen by one e-mail address.

A place is identified by a keyed hash that differs for each address, so that the tables do not reveal who was where. It
is known once someone with a verified address has signed in from it; a sign-up with someone else's address does not make
a place known.
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
    """`key` identifies the place without revealing it; `is_known`: the address has signed in from there."""

    key: str
    is_known: bool = False


class Places(Protocol):
    async def at(self, email: str, source: str) -> Place:
        """The place of this network address (`Client.source`) for an e-mail address in lower case.

        Raises:
            CentralUnavailable: the central database does not answer.
        """

    async def remember(self, email: str, source: str) -> None:
        """Mark the place as known: the owner of the address has signed in from it. Raises as `at` does."""


def place_of(user_id: str) -> str:
    """The source for anyone who is signed in as this user, on any network: their account is held responsible."""
    return f"user:{user_id}"


@dataclass(frozen=True, slots=True)
class KnownPlaces:
    """Implements `Places` in the table of wrong passwords."""

    store: WrongPasswordStore
    secret: str
    clock: Callable[[], datetime] = utc_now

    async def at(self, email: str, source: str) -> Place:
        at_ms = await self._signed_in_at_ms(email, source)
        return Place(self._key(email, source)[:_KEY_BYTES].decode(), at_ms >= self._now_ms() - _KNOWN_FOR_MS)

    async def remember(self, email: str, source: str) -> None:
        if await self._signed_in_at_ms(email, source) < self._now_ms() - _DAY_MS:  # at most once a day
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
