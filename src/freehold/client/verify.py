"""Checks a pulled page of the registry. Nothing of a page may be used before it went through here."""

import hmac
from collections.abc import Iterator

import msgspec

from freehold.errors import InvalidInput
from freehold.migrate.signature import RegistryTampered, is_signed
from freehold.migrate.types import GENESIS, Migration, chain
from freehold.wire import MigrationPage, SignedMigration


class VerifiedRegistry(msgspec.Struct, frozen=True, kw_only=True):
    """Migrations `after` a version up to the newest, `version`, whose whole history is named by `chain`."""

    after: int
    version: int
    chain: str
    key_id: str
    migrations: tuple[Migration, ...]


def verified(page: MigrationPage, after: int, known_chain: str, public_key: str | None) -> VerifiedRegistry:
    """The page, when every script, their order and the signature fit together and follow from what is known.

    `known_chain` is the chain at version `after`, empty for 0. `public_key` is the trusted key that the page
    names, None if there is none: only an empty registry needs no signature.

    Raises:
        RegistryTampered: something does not fit; the message says what.
    """
    if page.version < after:
        raise RegistryTampered(
            f"the service offers version {page.version}, older than version {after} that is already known"
        )
    migrations = tuple(_linked(page, after, known_chain))
    if page.version > 0 and (
        public_key is None or not is_signed(page.version, page.chain, page.signature, public_key)
    ):
        raise RegistryTampered(
            f"the signature over version {page.version} is not valid for key {page.key_id}"
        )
    return VerifiedRegistry(
        after=after, version=page.version, chain=page.chain, key_id=page.key_id, migrations=migrations
    )


def require_start(after: int, known_chain: str) -> None:
    """Refuse a start that nothing could be checked against. Raises `InvalidInput`."""
    if after < 0:
        raise InvalidInput("a schema version is 0 or more")
    if (after == 0) != (known_chain == GENESIS):
        raise InvalidInput(f"give the chain at version {after}, as the database's ledger has it; 0 has none")


def _linked(page: MigrationPage, after: int, known_chain: str) -> Iterator[Migration]:
    link = known_chain
    for version, entry in enumerate(page.migrations, start=after + 1):
        if entry.version != version:
            raise RegistryTampered(
                f"expected migration {version}, got {entry.version}: one is missing or moved"
            )
        migration = Migration(version=version, name=entry.name, sql=entry.sql)
        if not _same(migration.checksum, entry.checksum):
            raise RegistryTampered(f"the SQL of migration {version} does not have its checksum")
        link = _next_link(link, migration, entry)
        yield migration
    if after + len(page.migrations) != page.version:
        raise RegistryTampered(
            f"the newest version is {page.version}, but the migrations end at {after + len(page.migrations)}"
        )
    if not _same(link, page.chain):
        raise RegistryTampered(
            f"the chain at version {page.version} does not follow from the migrations before it"
        )


def _next_link(previous: str, migration: Migration, entry: SignedMigration) -> str:
    try:
        link = chain(previous, migration.checksum)
    except ValueError as error:
        raise InvalidInput("the known chain is not hex") from error
    if not _same(link, entry.chain):
        raise RegistryTampered(
            f"the chain at migration {migration.version} does not follow from the history that is known"
        )
    return link


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
