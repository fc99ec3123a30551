"""Publish migrations and tell clients which ones they need."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from freehold.audit.types import Event
from freehold.errors import FreeholdError
from freehold.log import get_logger
from freehold.migrate.release_text import Part, ReleaseText
from freehold.migrate.signature import from_text, key_id_of
from freehold.migrate.snapshot import Scratch, sqlite_scratch
from freehold.migrate.types import Migration, normalise
from freehold.registry.client_versions import ClientVersions
from freehold.registry.ports import RegistryStore, Signer
from freehold.registry.published import PublishedRegistry, PublishedRegistryCache
from freehold.registry.publishing import (
    checksums,
    compare,
    name_of,
    part_events,
    refuse_repeat,
    rehearse,
    require_parts,
    require_sound,
    signed_rows,
)
from freehold.registry.signed import (
    LIFETIME_DAYS,
    SignedRelease,
    endorsement,
    expiry_s,
    is_outdone,
    is_stale,
    listed,
    next_counter,
    require_release,
    retirement,
    sign_state,
)
from freehold.registry.types import (
    BadRegistry,
    ClientAhead,
    KeyRetired,
    Manifest,
    PartFile,
    PublishedMigration,
    PublishReport,
    RegistryKey,
    RegistryMoved,
    SignedElsewhere,
    Verdict,
)

log = get_logger()

_PUBLISH_TRIES = 5
_RENEW_EVERY_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Registry:
    """The schema registry: only published migrations are served, and a published migration never changes."""

    store: RegistryStore
    cache: PublishedRegistryCache
    # None if the signing key is kept elsewhere.
    signer: Signer | None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    lifetime_days: float = LIFETIME_DAYS
    # Knows which app versions are in use; None if clients do not report theirs.
    reports: ClientVersions | None = None
    # Opens a new empty database, if possible on the tenants' engine: a migration that fails there is never published.
    scratch: Scratch = sqlite_scratch

    async def snapshot(self) -> PublishedRegistry:
        """Return everything published, as one consistent and verified snapshot.

        Raises:
            RegistryTampered: the central rows do not match their signatures; nothing is served then.
            CentralUnavailable: the central database does not answer.
        """
        return await self.cache.get()

    async def migrations(self) -> tuple[Migration, ...]:
        """Return every published migration, oldest first, as the migration core's type."""
        return (await self.snapshot()).migrations

    async def verify(self, client_version: int) -> Verdict:
        """Return whether a client at this version is up to date, and what it has to apply if not.

        Raises:
            ClientAhead: its version was never published here. The registry was rolled back or is a different one, so
                the client must not migrate.
        """
        snapshot = await self.snapshot()
        if client_version > snapshot.version:
            raise ClientAhead(
                f"the database is at version {client_version}, but the newest published is {snapshot.version}; "
                "update the service or connect to the right one, and migrate nothing until then"
            )
        return Verdict(
            current_version=snapshot.version, client_version=client_version, required=snapshot.after(client_version)
        )

    async def plan(
        self,
        migrations: Sequence[Migration],
        signed: SignedRelease | None = None,
        *,
        parts: Sequence[PartFile] | None = None,
        force: bool = False,
    ) -> PublishReport:
        """Return what `publish` would do now, and rehearse it, but change nothing. Raises as `publish` does."""
        snapshot, report, _ = await self._compared(migrations, signed, parts)
        await self._try_out(snapshot, migrations[snapshot.version :], force=force)
        return report

    async def publish(
        self,
        migrations: Sequence[Migration],
        signed: SignedRelease | None = None,
        *,
        parts: Sequence[PartFile] | None = None,
        force: bool = False,
    ) -> PublishReport:
        """Append the migrations that are not yet published, all or none. `migrations` starts at version 1.

        Idempotent, and safe with several publishers at once: one wins, and the others find its rows already there.
        `signed` replaces a key of our own; with nothing new to publish it renews the registry's signature. Publishing
        the same release again changes nothing. `parts` replaces all further parts of the release; None keeps them,
        except that a `signed` release always states its parts.

        Raises:
            BadRegistry: the migrations cannot be published as they are.
            PublishedMigrationChanged: one is already published with other SQL.
            RegistryMoved: other publishers kept winning; try again.
            SignedElsewhere: there is no key here, and `signed` is missing.
            BadRelease: `signed` cannot be published.
            ContractTooEarly: apps that a contract migration would break are in use. With `force` this is recorded
                instead.
        """
        for _ in range(_PUBLISH_TRIES):
            snapshot, report, release_parts = await self._compared(migrations, signed, parts)
            if not report.renewed:
                return report
            try:
                new = [(each, each.description) for each in migrations[snapshot.version :]]
                await self._append(snapshot, new, signed, parts=release_parts, force=force)
            except RegistryMoved:
                continue
            return report
        raise RegistryMoved("others are publishing at the same time; try again in a moment")

    async def register(self, sql_script: str, description: str) -> PublishedMigration:
        """Publish one migration as the next version; its name is derived from the description.

        Sending the newest migration's SQL again raises `AlreadyPublished`, so a retry after a lost response never
        publishes twice.

        Raises:
            BadRegistry: the SQL or the description cannot be published.
            AlreadyPublished: the newest migration has this SQL.
            RegistryMoved: another migration was published at the same time; look at it before trying again.
        """
        snapshot = await self.snapshot()
        version = snapshot.version + 1
        description = " ".join(description.split())
        if not description:
            raise BadRegistry(["description: say in a few words what the migration does"])
        migration = Migration(version=version, name=name_of(description, version), sql=normalise(sql_script))
        [checksum] = await asyncio.to_thread(checksums, [migration])
        refuse_repeat(snapshot.head, checksum)
        await asyncio.to_thread(require_sound, [migration])
        try:
            rows = await self._append(snapshot, [(migration, description)])
        except RegistryMoved:
            refuse_repeat((await self.snapshot()).head, checksum)  # perhaps published by the same request, sent twice
            raise
        return rows[0]

    async def renew(self, *, force: bool = False) -> bool:
        """Sign the state again if half its lifetime is over or its format is old; return whether it was signed.

        Idempotent, and safe in several processes at once. Does nothing if the key is kept elsewhere (renewal is then up
        to its holder) or nothing is published. `force` always signs, with a higher counter: after the central database
        was restored from a backup, clients that saw later releases accept this one.
        """
        snapshot = await self.snapshot()
        is_due = force or is_stale(snapshot.manifest, self._now_ms(), self.lifetime_days)
        if self.signer is None or not snapshot.rows or not is_due:
            return False
        try:
            await self._append(snapshot, [])
        except RegistryMoved:
            return False  # another process renewed it or published
        return True

    async def keep_signed(self) -> None:
        """Renew the signature whenever it is due, until cancelled."""
        while True:
            try:
                if await self.renew():
                    log.info("registry.signature_renewed")
            except FreeholdError as error:  # the next attempt may succeed
                log.warning("registry.not_renewed", code=error.code, reason=str(error))
            await asyncio.sleep(_RENEW_EVERY_S)

    async def add_key(self, public_key: str) -> RegistryKey:
        """Let another key publish here, endorsed by our own key if we have one. Idempotent.

        Raises:
            BadRegistry: not an Ed25519 public key in unpadded base64url.
        """
        try:
            raw = from_text(public_key)
        except ValueError:
            raw = b""
        if len(raw) != 32:
            raise BadRegistry(["a public key is 32 bytes in unpadded base64url, as `registry keys list` shows them"])
        key = RegistryKey(key_id=key_id_of(raw), public_key=public_key, created_at=self._created_at())
        statements = [] if self.signer is None else [endorsement(public_key, self.signer)]
        await self.store.add_key(key, statements)
        return key

    async def rotate(self, successor: Signer) -> None:
        """Sign with `successor` from now on: our key endorses it, and it retires our key. Idempotent.

        Afterwards the caller replaces our signer with the successor. Clients that trust our key follow automatically.

        Raises:
            SignedElsewhere: there is no key here to rotate.
            RegistryMoved: something was published at the same time; try again.
        """
        if self.signer is None:
            raise SignedElsewhere("the key is elsewhere; rotate it where it is")
        snapshot = await self.snapshot()
        if snapshot.manifest is not None and snapshot.manifest.key_id == successor.key_id:
            return
        state = self._state(snapshot.version, snapshot.chain, successor, snapshot.manifest, listed(snapshot.parts))
        said = [endorsement(successor.public_key, self.signer), retirement(self.signer.key_id, successor)]
        # Before the first publication the old key may be unknown, and its endorsement would not count.
        created_at = self._created_at()
        for each in (self.signer, successor):
            key = RegistryKey(key_id=each.key_id, public_key=each.public_key, created_at=created_at)
            await self.store.add_key(key, [])
        if snapshot.rows:
            await self.store.append([], state, key, after=snapshot.chain, statements=said)
        else:
            await self.store.add_key(key, said)
        log.info("registry.key_rotated", key_id=successor.key_id, retired_key_id=self.signer.key_id)

    def _now_ms(self) -> int:
        return int(self.now().timestamp() * 1000)

    def _created_at(self) -> str:
        return self.now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _state(
        self, version: int, link: str, signer: Signer, before: Manifest | None, parts: Sequence[Part]
    ) -> Manifest:
        now_ms = self._now_ms()
        release = ReleaseText(
            version=version,
            chain=link,
            counter=next_counter(now_ms, before),
            expires_at_s=expiry_s(now_ms, self.lifetime_days),
            parts=tuple(parts),
        )
        return sign_state(release, signer)

    async def _compared(
        self, migrations: Sequence[Migration], signed: SignedRelease | None, parts: Sequence[PartFile] | None
    ) -> tuple[PublishedRegistry, PublishReport, Sequence[PartFile]]:
        snapshot = await self.snapshot()
        await asyncio.to_thread(checksums, migrations)
        if parts is None:
            parts = snapshot.parts if signed is None else ()
        require_parts(parts)
        if signed is not None:
            # Before anything more expensive than hashing, which only holders of the signing key may request.
            await asyncio.to_thread(require_release, signed, migrations, parts, snapshot, self._now_ms())
        report = await asyncio.to_thread(compare, snapshot, migrations)
        is_new = bool(report.published) or listed(parts) != listed(snapshot.parts)
        renewed = is_new if signed is None else not is_outdone(signed.manifest, snapshot)
        return snapshot, replace(report, renewed=renewed), parts

    async def _try_out(self, snapshot: PublishedRegistry, new: Sequence[Migration], *, force: bool) -> list[Event]:
        if not new:
            return []
        events = await self.reports.require_no_older_apps(new, force=force) if self.reports else []
        await asyncio.to_thread(rehearse, [*snapshot.migrations, *new], self.scratch)
        return events

    async def _append(
        self,
        snapshot: PublishedRegistry,
        new: Sequence[tuple[Migration, str]],
        signed: SignedRelease | None = None,
        *,
        parts: Sequence[PartFile] | None = None,
        force: bool = False,
    ) -> Sequence[PublishedMigration]:
        parts = snapshot.parts if parts is None else parts
        signer = self._signer(snapshot) if signed is None else None
        events = await self._try_out(snapshot, [migration for migration, _ in new], force=force)
        created_at = self._created_at()
        if signer is not None:
            rows = await asyncio.to_thread(signed_rows, snapshot.chain, new, signer.key_id, signer.sign, created_at)
            link = rows[-1].chain if rows else snapshot.chain
            state = self._state(snapshot.version + len(rows), link, signer, snapshot.manifest, listed(parts))
            public_key = signer.public_key
        else:
            assert signed is not None
            state, public_key = signed.manifest, signed.public_key
            given = iter(signed.rows[snapshot.version :])
            rows = signed_rows(snapshot.chain, new, state.key_id, lambda _text: next(given), created_at)
        key = RegistryKey(key_id=state.key_id, public_key=public_key, created_at=created_at)
        events += part_events(snapshot.parts, parts, state.key_id)
        await self.store.append(rows, state, key, after=snapshot.chain, events=events, parts=parts)
        for row in rows:
            log.info("registry.migration_published", version=row.version, name=row.name, key_id=row.key_id)
        return rows

    def _signer(self, snapshot: PublishedRegistry) -> Signer:
        if self.signer is None:
            raise SignedElsewhere(
                "the key that signs the registry is not here; sign in CI with `registry sign` and publish that"
            )
        if self.signer.key_id in snapshot.retired:
            raise KeyRetired(
                f"key {self.signer.key_id} was replaced: start this process again with the one that replaced it"
            )
        return self.signer
