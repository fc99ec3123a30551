"""What the registry needs of the outside, in its own words."""

from collections.abc import Sequence
from typing import Protocol

from freehold.audit.types import Event
from freehold.registry.types import KeyStatement, Manifest, PartFile, PublishedMigration, RegistryKey, Stored


class RegistryStore(Protocol):
    """The published migrations in the central database. Rows are only ever added."""

    async def load(self) -> Stored:
        """All rows by version, all keys, and the manifest with the highest counter and its parts. Nothing is checked.

        Raises:
            CentralUnavailable: no answer.
        """
        ...

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
        """Add the rows, the manifest, the statements and events, key and parts if they are new, in one transaction.

        `after` is the chain of the newest row, empty when there is none.

        Raises:
            RegistryMoved: the newest row is another one, or a higher counter is there; nothing was written.
            CentralUnavailable: nothing can be written.
        """
        ...

    async def add_key(self, key: RegistryKey, statements: Sequence[KeyStatement]) -> None:
        """Add a key if it is new, and what is said of it. Raises `CentralUnavailable`."""
        ...


class Signer(Protocol):
    """Holds the private key that vouches for the registry."""

    @property
    def key_id(self) -> str:
        """Short name of the key, see `migrate.signature.key_id_of`."""
        ...

    @property
    def public_key(self) -> str:
        """The raw public key as unpadded base64url."""
        ...

    def sign(self, text: bytes) -> str:
        """The signature as unpadded base64url. Takes well under a millisecond."""
        ...
