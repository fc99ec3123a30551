"""The keys that sign JWTs: kept in the central database, the private half sealed; rotated by age and on demand.

A key signs until it is retired, and stays published until the last token signed with it has expired. All processes
follow a rotation by the change feed. A key that cannot be used here (sealed with another secret, or of another
kind, in a database that moved in) is published too, so that its tokens can be checked.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from freehold.auth.ports import SigningKeyStore
from freehold.auth.tokens.jwks import Jwk, Seal, SigningKey, new_key, public_key, published_jwk, signing_key
from freehold.auth.types import StoredKey
from freehold.changes import Changes
from freehold.dates import from_iso, utc_now
from freehold.errors import CentralUnavailable, Unavailable
from freehold.feed_cache import FeedCell
from freehold.log import get_logger

# Longer than any token lives, by as much as clocks may differ.
STAYS_PUBLISHED = timedelta(minutes=20)
MAX_AGE = timedelta(days=90)
_TRIES = 5
_PAUSE = timedelta(seconds=30)

log = get_logger()


class KeyRing(msgspec.Struct, frozen=True, kw_only=True):
    """All keys at one moment, the newest first. `current` are those that are not retired, usable or not."""

    rows: tuple[StoredKey, ...]
    current: tuple[StoredKey, ...]
    signer: SigningKey | None
    verifying: Mapping[str, Ed25519PublicKey]


class SigningKeys:
    """Hands out the key that signs and those that verify. One for each process."""

    def __init__(
        self,
        store: SigningKeyStore,
        changes: Changes,
        secret: str,
        *,
        max_age: timedelta = MAX_AGE,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._changes = changes
        self._seal = Seal(secret)
        self._max_age = max_age
        self._clock = clock
        self._ring: FeedCell[KeyRing] = FeedCell(changes, "jwks")
        self._not_before = datetime.min.replace(tzinfo=UTC)

    @property
    def signer_in_memory(self) -> SigningKey | None:
        """The key that signed last, unless news of another came; it may be too old by now."""
        return None if self._ring.held is None else self._ring.held.signer

    async def signer(self) -> SigningKey:
        """The key to sign with; made if there is none, replaced if it is too old.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        for _ in range(_TRIES):
            ring = self._ring.held or await self._load()
            if ring.signer is not None and not self._is_too_old(ring.signer.created_at):
                return ring.signer
            try:
                await self._make_signer(ring)
            except CentralUnavailable as error:
                if ring.signer is None:
                    raise
                log.warning("signing_key.not_replaced", reason=str(error))
                return ring.signer
        raise Unavailable("the signing keys keep changing; try again in a moment")

    async def rotate(self, *, at_once: bool = False) -> str:
        """Sign with a new key from now on; gives its id.

        With `at_once` the old keys are no longer published either, so that every token signed with them is
        refused: for a key that somebody else may have.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        for _ in range(_TRIES):
            ring = await self._load()
            key_id = await self._replace(
                ring, retired=ring.current, removed=ring.rows if at_once else self._ended(ring)
            )
            if key_id is not None:
                log.info("signing_key.rotated", key_id=key_id, at_once=at_once)
                return key_id
        raise Unavailable("the signing keys keep changing; try again in a moment")

    async def verifying(self) -> Mapping[str, Ed25519PublicKey]:
        """The keys by id whose signatures count now.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        return (await self._newest()).verifying

    async def published(self) -> Sequence[Jwk]:
        """The public keys, the newest first. A first one is made if there is none.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        if (await self._newest()).signer is None:
            await self.signer()
        return [published_jwk(row) for row in await self.listed()]

    async def listed(self) -> Sequence[StoredKey]:
        """The rows of all published keys, the newest first. Raises `CentralUnavailable`."""
        return self._living((await self._newest()).rows)

    async def _newest(self) -> KeyRing:
        if not self._changes.is_current():
            await self._changes.catch_up()
        return self._ring.held or await self._load()

    async def _load(self) -> KeyRing:
        begun = self._ring.begin()
        rows, seen = await self._store.load_keys()
        now = self._clock()
        current = [row for row in rows if row.expires_at is None or from_iso(row.expires_at) > now]
        usable = (signing_key(row, self._seal) for row in current)
        found = {row.key_id: public_key(row) for row in self._living(rows)}
        ring = KeyRing(
            rows=tuple(rows),
            current=tuple(current),
            signer=next((key for key in usable if key is not None), None),
            verifying={key_id: key for key_id, key in found.items() if key is not None},
        )
        self._ring.keep(ring, begun, seen)
        return ring

    async def _make_signer(self, ring: KeyRing) -> None:
        """Nobody waits for a database that has just failed to write: `signer` is asked at every get-session."""
        if self._clock() < self._not_before:
            raise CentralUnavailable("the central database could not write a moment ago; try again")
        # A young key that another secret has sealed may be the signer of another service.
        too_old = [row for row in ring.current if self._is_too_old(from_iso(row.created_at))]
        try:
            await self._replace(ring, retired=too_old)
        except CentralUnavailable:
            self._not_before = self._clock() + _PAUSE
            raise

    async def _replace(
        self, ring: KeyRing, *, retired: Sequence[StoredKey], removed: Sequence[StoredKey] = ()
    ) -> str | None:
        """Add a key, unless others were added or retired since the ring was read: then None."""
        new = new_key(self._seal, self._clock())
        done = await self._store.replace_keys(new, seen=ring.rows, retired=retired, removed=removed)
        self._ring.forget()
        return new.key_id if done else None

    def _is_too_old(self, created_at: datetime) -> bool:
        return self._clock() - created_at >= self._max_age

    def _living(self, rows: Sequence[StoredKey]) -> list[StoredKey]:
        ended = self._clock() - STAYS_PUBLISHED
        return [row for row in rows if row.expires_at is None or from_iso(row.expires_at) > ended]

    def _ended(self, ring: KeyRing) -> list[StoredKey]:
        living = self._living(ring.rows)
        return [row for row in ring.rows if row not in living]
