"""What the registry needs of the outside, in its own words."""

from collections.abc import Sequence
from typing import Protocol

from freehold.registry.types import PublishedMigration, RegistryKey


class RegistryStore(Protocol):
    """The published migrations in the central database. Rows are only ever added."""

    async def load(self) -> tuple[Sequence[PublishedMigration], Sequence[RegistryKey]]:
        """All rows by version and all keys, as of one moment. Nothing is checked.

        Raises:
            CentralUnavailable: no answer.
        """
        ...

    async def append(self, migrations: Sequence[PublishedMigration], key: RegistryKey, after: str) -> None:
        """Add the rows, and the key if it is new, in one transaction.

        `after` is the chain of the newest row, empty when there is none.

        Raises:
            RegistryMoved: the newest row is another one; nothing was written.
            CentralUnavailable: nothing can be written.
        """
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
