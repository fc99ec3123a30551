"""The answers that one state of the registry gives, encoded and compressed once."""

import asyncio

import msgspec

from freehold.errors import AppTooOld
from freehold.http.registry.cached_response import CachedResponse, prebuilt
from freehold.lru import Lru
from freehold.migrate.signature import ALGORITHM
from freehold.registry.published import PublishedRegistry
from freehold.registry.release import app_version, contracts, release_of
from freehold.registry.types import KeyStatement, PublishedMigration
from freehold.wire import (
    CurrentVersion,
    KeyWord,
    MigrationPage,
    MigrationScript,
    PublicKey,
    SignedMigration,
    SignedText,
)

# Most clients are at one of the newest versions. Kept pages of all of them would need memory by the square.
_KEPT_PAGES = 64
_FOR_EVER = b"public, max-age=31536000, immutable"


class Pages:
    """What one snapshot answers. Building them may take milliseconds: keep it off the event loop."""

    def __init__(self, snapshot: PublishedRegistry) -> None:
        self.snapshot = snapshot
        self._entries = [msgspec.json.encode(_signed(snapshot, index)) for index in range(snapshot.version)]
        self._parts = {part.listed.sha256: _part(part.content) for part in snapshot.parts}
        self._contracts = contracts(snapshot.migrations)
        self._kept: Lru[tuple[int, int], CachedResponse] = Lru(_KEPT_PAGES)
        self.current_version = prebuilt(CurrentVersion(snapshot.version))
        self.full = prebuilt([script(row) for row in snapshot.rows])
        self.keys = prebuilt([_key(snapshot, key.key_id, key.public_key) for key in snapshot.keys])

    async def after(self, version: int, app: str) -> CachedResponse:
        """What a database at this version still needs, up to the newest that an app of this version can read.

        Raises:
            AppTooOld: the database is beyond that already.
        """
        version = min(version, self.snapshot.version)
        end, needs_app = self._readable(app)
        if version > end:
            raise AppTooOld(
                f"this app ({app}) cannot work with version {version} of the schema: update the app to {needs_app} "
                "or newer"
            )
        page = self._kept.get((version, end))
        if page is None:
            page = await asyncio.to_thread(self._build, version, end, needs_app)
            self._kept[version, end] = page
        else:
            self._kept.move_to_end((version, end))
        return page

    def single(self, version: int) -> CachedResponse | None:
        """One migration for ever: what was published never changes."""
        if not 1 <= version <= self.snapshot.version:
            return None
        body = self._entries[version - 1]
        return CachedResponse.of(body, cache_control=_FOR_EVER)

    def part(self, sha256: str) -> CachedResponse | None:
        """The bytes of a part of this release, for ever: they are named by their hash."""
        return self._parts.get(sha256)

    def _readable(self, app: str) -> tuple[int, str]:
        """The newest version that the app can work with, and what it needs to be for the next."""
        numbers = app_version(app) if self._contracts else None
        for contract in self._contracts:
            if numbers is not None and contract.needs > numbers:
                return contract.version - 1, contract.min_app
        return self.snapshot.version, ""

    def _build(self, version: int, end: int, needs_app: str) -> CachedResponse:
        snapshot = self.snapshot
        manifest = snapshot.manifest
        empty = MigrationPage(
            version=snapshot.version,
            chain=snapshot.chain,
            counter=manifest.counter if manifest else 0,
            expires_at_s=manifest.expires_at_s if manifest else 0,
            signature=manifest.signature if manifest else "",
            key_id=manifest.key_id if manifest else "",
            migrations=(),
            withheld=tuple(row.checksum for row in snapshot.rows[end:]),
            needs_app=needs_app,
            release=SignedText(text=manifest.text, signature=manifest.text_signature)
            if manifest and manifest.text
            else None,
        )
        head, tail = msgspec.json.encode(empty).split(b'"migrations":[]', 1)
        entries = b",".join(self._entries[version:end])
        return CachedResponse.of(
            b"".join((head, b'"migrations":[', entries, b"]", tail)), vary=b"Freehold-App-Version"
        )


def script(row: PublishedMigration) -> MigrationScript:
    """The row as `GET /migrations/full` gives it."""
    return MigrationScript(
        version=row.version,
        description=row.description,
        sql_script=row.sql,
        checksum=row.checksum,
        created_at=row.created_at,
    )


def _part(content: bytes) -> CachedResponse:
    return CachedResponse.of(content, cache_control=_FOR_EVER, content_type=b"application/octet-stream")


def _signed(snapshot: PublishedRegistry, index: int) -> SignedMigration:
    row, migration = snapshot.rows[index], snapshot.migrations[index]
    release = release_of(migration)
    return SignedMigration(
        version=row.version,
        name=row.name,
        description=row.description,
        sql=row.sql,
        checksum=row.checksum,
        chain=row.chain,
        statements=migration.statements,
        foreign_keys="off" if migration.foreign_keys_off else "on",
        created_at=row.created_at,
        phase="contract" if release.is_contract else "expand",
        min_app=release.min_app,
    )


def _key(snapshot: PublishedRegistry, key_id: str, public_key: str) -> PublicKey:
    words = {each.kind: _word(each) for each in snapshot.statements if each.key_id == key_id}
    return PublicKey(
        key_id=key_id,
        algorithm=ALGORITHM,
        public_key=public_key,
        endorsed=words.get("endorsed"),
        retired=words.get("retired"),
    )


def _word(statement: KeyStatement) -> KeyWord:
    return KeyWord(by_key_id=statement.by_key_id, signature=statement.signature)
