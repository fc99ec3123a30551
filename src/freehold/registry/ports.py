"""What the registry needs from the outside."""

from collections.abc import Sequence
from typing import Protocol

from freehold.audit.types import Event
from freehold.registry.types import KeyStatement, Manifest, PartFile, PublishedMigration, RegistryKey, Stored


class RegistryStore(Protocol):
    """The published migrations in the central database. Append-only."""

    async def load(self) -> Stored:
        """Return all rows by version, all keys, the newest manifest, and its parts. Raises `CentralUnavailable`."""

    async def append(
        self,
        migrations: Sequence[PublishedMigration],
        manifest: Manifest,
        key: RegistryKey,
        *,
        after: str,
        statements: Sequence[KeyStatement] = (),
        events: Sequence[Event] = (),
        parts: Sequence[PartFile] = (),
    ) -> None:
        """Add the rows, manifest, statements and events, and the key and parts if they are new, in one transaction.

        `after` is the chain hash of the newest row, or empty if there is none.

        Raises:
            RegistryMoved: the newest row is another one, or a higher counter exists; nothing was written.
            CentralUnavailable: nothing can be written.
        """

    async def add_key(self, key: RegistryKey, statements: Sequence[KeyStatement]) -> None:
        """Add a key if it is new, and the statements about it. Raises `CentralUnavailable`."""


class Signer(Protocol):
    """Holds the private key that signs the registry."""

    @property
    def key_id(self) -> str:
        """The short name of the key, see `migrate.signature.key_id_of`."""

    @property
    def public_key(self) -> str:
        """The raw public key in unpadded base64url."""

    def sign(self, text: bytes) -> str:
        """Return the signature in unpadded base64url. Takes well under a millisecond."""
