"""The published registry at one point in time, verified row by row and kept in memory."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from freehold.changes import Changes
from freehold.feed_cache import FeedCell
from freehold.log import get_logger
from freehold.migrate.release_text import Part, ReleaseNotUnderstood, ReleaseText, parsed, proved
from freehold.migrate.signature import (
    RegistryTampered,
    endorsement_text,
    is_named_after,
    is_signed,
    is_text_signed,
    manifest_text,
    retirement_text,
)
from freehold.migrate.types import GENESIS, BadMigration, Migration, chain
from freehold.registry.ports import RegistryStore
from freehold.registry.types import KeyStatement, Manifest, PartFile, PublishedMigration, RegistryKey, Stored

log = get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class PublishedRegistry:
    """Published migrations by version, from 1 on without gaps. Only `checked` should create one."""

    rows: tuple[PublishedMigration, ...] = ()
    keys: tuple[RegistryKey, ...] = ()
    # The same rows as the migration core's type, already split into statements.
    migrations: tuple[Migration, ...] = field(default=(), repr=False)
    statements: tuple[KeyStatement, ...] = ()
    # None until the state was signed as a whole.
    manifest: Manifest | None = None
    parts: tuple[PartFile, ...] = field(default=(), repr=False)

    @property
    def version(self) -> int:
        """Return the newest version; 0 when nothing is published."""
        return len(self.rows)

    @property
    def head(self) -> PublishedMigration | None:
        return self.rows[-1] if self.rows else None

    @property
    def chain(self) -> str:
        """Return the hash of the whole history; empty when nothing is published."""
        return self.rows[-1].chain if self.rows else GENESIS

    @property
    def retired(self) -> frozenset[str]:
        """Return the ids of the keys that no longer sign."""
        return frozenset(each.key_id for each in self.statements if each.kind == "retired")

    def after(self, version: int) -> tuple[PublishedMigration, ...]:
        """Return the rows after this version, oldest first."""
        return self.rows[version:]


def stand_of(state: Manifest) -> ReleaseText:
    """Return what the state's signed text must say, except for the parts."""
    return ReleaseText(version=state.version, chain=state.chain, counter=state.counter, expires_at_s=state.expires_at_s)


def listed_parts(state: Manifest | None) -> tuple[Part, ...]:
    """Return the parts that a state was signed with. Its text must have been verified."""
    return parsed(state.text).parts if state is not None and state.text else ()


def checked(stored: Stored) -> PublishedRegistry:
    """Verify these rows and return their snapshot. Takes about 0.2 ms per row: keep it off the event loop.

    Raises:
        RegistryTampered: a row is missing, or does not match its checksum, chain, key or signature.
    """
    for key in stored.keys:
        if not is_named_after(key.key_id, key.public_key):
            raise RegistryTampered(f"the registry's public key {key.key_id} does not fit its name")
    public_keys = {key.key_id: key.public_key for key in stored.keys}
    statements = _checked_statements(stored.statements, public_keys)
    migrations = []
    previous = GENESIS
    for version, row in enumerate(stored.rows, start=1):
        migration = Migration(version=row.version, name=row.name, sql=row.sql)
        if row.version != version:
            raise RegistryTampered(f"published migration {version} is missing; restore it from a backup")
        if migration.checksum != row.checksum:
            raise _tampered(version, "its SQL does not have the checksum it was published with")
        if chain(previous, row.checksum) != row.chain:
            raise _tampered(version, "its chain does not follow from the migration before it")
        if row.key_id not in public_keys:
            raise _tampered(version, f"the key {row.key_id} that signed it is not known")
        if not is_signed(version, row.chain, row.signature, public_keys[row.key_id]):
            raise _tampered(version, "its signature is not valid")
        try:
            _ = migration.statements
        except BadMigration as error:
            raise _tampered(version, f"its SQL cannot be read: {error}") from error
        migrations.append(migration)
        previous = row.chain
    if stored.manifest is not None:
        _check_manifest(stored.manifest, len(migrations), previous, public_keys)
    parts = _checked_parts(listed_parts(stored.manifest), dict(stored.parts))
    return PublishedRegistry(
        tuple(stored.rows), tuple(stored.keys), tuple(migrations), statements, stored.manifest, parts
    )


def _checked_parts(listed: Iterable[Part], contents: Mapping[str, bytes]) -> tuple[PartFile, ...]:
    found = []
    for part in listed:
        file = PartFile(name=part.name, content=contents.get(part.sha256, b""), must_understand=part.must)
        if part.sha256 not in contents or file.listed != part:
            raise RegistryTampered(
                f"the release's part {part.name} is missing or was changed; restore it from a backup"
            )
        found.append(file)
    return tuple(found)


def _check_manifest(manifest: Manifest, version: int, link: str, public_keys: Mapping[str, str]) -> None:
    if (manifest.version, manifest.chain) != (version, link):
        raise RegistryTampered(
            f"the registry was signed at version {manifest.version}, and its rows end at {version}: some are missing "
            "or were added by hand; restore it from a backup"
        )
    text = manifest_text(manifest.version, manifest.chain, manifest.counter, manifest.expires_at_s)
    public_key = public_keys.get(manifest.key_id, "")
    if not is_text_signed(text, manifest.signature, public_key):
        raise RegistryTampered(
            f"the signature over the registry's version {version} was tampered with; restore it from a backup"
        )
    if manifest.text:  # a process of an older version running next to this one signs without it
        try:
            proved(manifest.text, manifest.text_signature, public_key, stand_of(manifest))
        except (RegistryTampered, ReleaseNotUnderstood) as error:
            raise RegistryTampered(f"{error}; restore the registry from a backup") from error


def _checked_statements(statements: Iterable[KeyStatement], public_keys: Mapping[str, str]) -> tuple[KeyStatement, ...]:
    for each in statements:
        about = public_keys.get(each.key_id, "")
        text = endorsement_text(about) if each.kind == "endorsed" else retirement_text(each.key_id)
        if not is_text_signed(text, each.signature, public_keys.get(each.by_key_id, "")):
            raise RegistryTampered(f"what is said of the registry's key {each.key_id} was tampered with")
    return tuple(statements)


def _tampered(version: int, reason: str) -> RegistryTampered:
    return RegistryTampered(f"published migration {version} was tampered with: {reason}; restore it from a backup")


class PublishedRegistryCache:
    """One per process. The next `get` returns what other processes published."""

    def __init__(self, store: RegistryStore, changes: Changes) -> None:
        self._store = store
        self._changes = changes
        self._cell: FeedCell[PublishedRegistry | RegistryTampered] = FeedCell(changes, "registry")
        self._loading = asyncio.Lock()

    async def get(self) -> PublishedRegistry:
        """Return the current registry; takes microseconds when nothing was committed since the last call.

        Raises:
            RegistryTampered: the rows do not match their signatures.
            CentralUnavailable: the central database does not answer.
        """
        if not self._changes.is_current():
            await self._changes.catch_up()
        held = self._cell.held or await self._load()
        if isinstance(held, RegistryTampered):
            raise RegistryTampered(str(held))
        return held

    async def _load(self) -> PublishedRegistry | RegistryTampered:
        async with self._loading:
            if self._cell.held is not None:  # loaded by another request while this one waited
                return self._cell.held
            begun = self._cell.begin()
            stored = await self._store.load()
            found: PublishedRegistry | RegistryTampered
            try:
                found = await asyncio.to_thread(checked, stored)
            except RegistryTampered as error:
                log.error("registry.tampered", reason=str(error))  # noqa: TRY400 - the reason says it all
                found = error.with_traceback(None)
            self._cell.keep(found, begun)
            return found
