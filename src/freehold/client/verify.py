"""Verify a pulled page of the registry. No part of a page may be used before that."""

import hmac
from collections.abc import Iterable, Iterator

import msgspec

from freehold.errors import InvalidInput
from freehold.migrate.check import MAX_VERSION
from freehold.migrate.release_text import FIRST_COUNTER, Part, ReleaseNotUnderstood, ReleaseText, proved
from freehold.migrate.signature import (
    RegistryExpired,
    RegistryReplayed,
    RegistryTampered,
    is_text_signed,
    manifest_text,
)
from freehold.migrate.types import GENESIS, Migration, chain
from freehold.wire import MigrationPage


class VerifiedRegistry(msgspec.Struct, frozen=True, kw_only=True):
    """Migrations `after` a version up to `version`; `chain` is the hash of the whole history up to there.

    `newest` is the newest published version; it is above `version` if this app is too old for the rest, and `needs_app`
    is the version that it would need. `parts` are the further parts of the release.
    """

    after: int
    version: int
    chain: str
    key_id: str
    migrations: tuple[Migration, ...]
    counter: int = 0
    newest: int = 0
    needs_app: str = ""
    parts: tuple[Part, ...] = ()


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before a page is pulled.

    The chain hash at a version, the highest counter seen, the time, and the parts of a release that this app
    understands.
    """

    after: int
    chain: str
    counter: int
    now_s: float
    understands: frozenset[str] = frozenset()


def verified(page: MigrationPage, known: Known, public_key: str | None) -> VerifiedRegistry:
    """Return the page if every script, their order and the signature are consistent and continue what is known.

    `public_key` is the trusted key that the page names, or None; only an empty registry needs no signature.

    Raises:
        RegistryTampered: it is inconsistent; the message says where.
        RegistryReplayed: it was signed before one that was already seen.
        ReleaseNotUnderstood: it is signed in a later format.
    """
    after = known.after
    if page.version < after:
        raise RegistryTampered(
            f"the service offers version {page.version}, older than version {after} that is already known"
        )
    migrations = tuple(_linked(page, after, known.chain))
    link = page.migrations[-1].chain if page.migrations else known.chain
    _require_whole(page, after + len(migrations), link)
    parts = parts_of(page, known, public_key)
    return VerifiedRegistry(
        after=after,
        version=after + len(migrations),
        chain=link,
        key_id=page.key_id,
        migrations=migrations,
        counter=page.counter,
        newest=page.version,
        needs_app=page.needs_app,
        parts=parts,
    )


def is_unsigned(page: MigrationPage) -> bool:
    """Return whether its registry has nothing published yet: such a page proves nothing."""
    return page.version == 0 and not page.signature and page.release is None


def parts_of(page: MigrationPage, known: Known, public_key: str | None) -> tuple[Part, ...]:
    """Return the parts that a page lists, if it is genuine and no older than what was seen.

    A registry may be empty and unsigned only if nothing was ever seen. Raises as `verified` does.
    """
    if is_unsigned(page) and not known.counter:
        return ()
    parts = proved_parts(page, public_key)
    if page.counter < known.counter:
        raise RegistryReplayed(
            f"the registry was signed before a state that was seen already ({page.counter} < {known.counter}): "
            "an old one is being replayed"
        )
    return parts


def proved_parts(page: MigrationPage, public_key: str | None) -> tuple[Part, ...]:
    """Return the parts that the release lists, if this key signed it in the format that its counter requires.

    Raises:
        RegistryTampered: the signature is not valid, or the newer of two was removed.
        ReleaseNotUnderstood: it is signed in a later format.
    """
    if public_key is None:
        raise _not_signed(page)
    if page.release is not None:
        stand = ReleaseText(
            version=page.version, chain=page.chain, counter=page.counter, expires_at_s=page.expires_at_s
        )
        return proved(page.release.text, page.release.signature, public_key, stand)
    if page.counter >= FIRST_COUNTER:
        raise RegistryTampered(
            f"the registry was signed as a release with parts ({page.counter}), and the text that names them is "
            "missing: someone removed it"
        )
    try:
        text = manifest_text(page.version, page.chain, page.counter, page.expires_at_s)
    except UnicodeEncodeError:
        raise _not_signed(page) from None
    if not is_text_signed(text, page.signature, public_key):
        raise _not_signed(page)
    return ()


def require_usable(page: MigrationPage, parts: Iterable[Part], known: Known) -> None:
    """Check that the genuine release has not expired and is understood.

    Raises:
        RegistryExpired: it was signed too long ago.
        ReleaseNotUnderstood: it has a part that must be understood, and is not.
    """
    if page.expires_at_s <= known.now_s:
        raise RegistryExpired(
            "the registry was signed too long ago; its operator has to sign it again, or this device's clock is wrong"
        )
    unknown = sorted(part.name for part in parts if part.must and part.name not in known.understands)
    if unknown:
        raise ReleaseNotUnderstood(
            f"the release has a part that this app does not understand ({', '.join(unknown)}): update the app"
        )


def _not_signed(page: MigrationPage) -> RegistryTampered:
    return RegistryTampered(f"the signature over version {page.version} is not valid for key {page.key_id}")


def _require_whole(page: MigrationPage, version: int, link: str) -> None:
    """Check that the signed chain follows from the migrations and the checksums of withheld ones."""
    if len(page.withheld) > MAX_VERSION:
        raise RegistryTampered(f"more migrations are withheld than a registry can have ({MAX_VERSION})")
    if version + len(page.withheld) != page.version:
        raise RegistryTampered(
            f"the newest version is {page.version}, but the migrations end at {version + len(page.withheld)}"
        )
    try:
        for checksum in page.withheld:
            link = chain(link, checksum)
    except ValueError as error:
        raise RegistryTampered("a checksum of the migrations that are withheld is not hex") from error
    if not _same(link, page.chain):
        raise RegistryTampered(f"the chain at version {page.version} does not follow from the history that is known")


def require_start(after: int, known_chain: str) -> None:
    """Refuse a start that cannot be verified against. Raises `InvalidInput`."""
    if after < 0:
        raise InvalidInput("a schema version is 0 or more")
    if (after == 0) != (known_chain == GENESIS):
        raise InvalidInput(f"give the chain at version {after}, as the database's ledger has it; 0 has none")


def _linked(page: MigrationPage, after: int, known_chain: str) -> Iterator[Migration]:
    link = known_chain
    for version, entry in enumerate(page.migrations, start=after + 1):
        if entry.version != version:
            raise RegistryTampered(f"expected migration {version}, got {entry.version}: one is missing or moved")
        migration = Migration(version=version, name=entry.name, sql=entry.sql)
        if not _same(migration.checksum, entry.checksum):
            raise RegistryTampered(f"the SQL of migration {version} does not have its checksum")
        try:
            link = chain(link, migration.checksum)
        except ValueError as error:
            raise InvalidInput("the known chain is not hex") from error
        if not _same(link, entry.chain):
            raise RegistryTampered(f"the chain at migration {version} does not follow from the history that is known")
        yield migration


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
