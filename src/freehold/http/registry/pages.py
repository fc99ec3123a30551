"""The responses for one state of the registry, encoded and compressed once, with a strong ETag."""

import asyncio
import gzip
import hashlib
from dataclasses import dataclass
from typing import Self

import msgspec
from litestar.types import Receive, Scope, Send

from freehold import wire
from freehold.errors import AppTooOld
from freehold.http.headers import header
from freehold.lru import Lru
from freehold.migrate.signature import ALGORITHM
from freehold.registry.published import PublishedRegistry
from freehold.registry.release import app_version, contracts, release_of
from freehold.registry.types import PublishedMigration

Headers = tuple[tuple[bytes, bytes], ...]

# Below this, the compressed form is hardly smaller, and both fit into one packet.
_MIN_GZIP_BYTES = 1_400


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """An ASGI application that sends this body, JSON by default, or 304 if the client already has it.

    `etag` includes its quotes; the compressed form has its own tag, as its bytes differ. By default, clients may keep
    the body but must revalidate it each time.
    """

    body: bytes
    etag: bytes
    gzipped: bytes | None = None
    cache_control: bytes = b"no-cache"
    vary: bytes = b""
    content_type: bytes = b"application/json"

    @classmethod
    def of(cls, body: bytes, **headers: bytes) -> Self:
        """A response with this body, compressed if worthwhile, which takes milliseconds for a large one."""
        gzipped = gzip.compress(body, 6, mtime=0) if len(body) >= _MIN_GZIP_BYTES else None
        tag = hashlib.sha256(body).hexdigest()[:32].encode()
        return cls(body, b'"%s"' % tag, gzipped, **headers)

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        is_gzipped = self.gzipped is not None and _takes_gzip(scope)
        gzip_etag = self.etag[:-1] + b'-gz"'
        # Fresh lists each time: middleware around us adds its headers in place.
        headers = [(b"etag", gzip_etag if is_gzipped else self.etag), (b"cache-control", self.cache_control)]
        vary = [name for name in (b"Accept-Encoding" if self.gzipped else b"", self.vary) if name]
        if vary:
            headers.append((b"vary", b", ".join(vary)))
        if _has_it(scope, (self.etag, gzip_etag)):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        body = self.gzipped if is_gzipped and self.gzipped is not None else self.body
        if is_gzipped:
            headers.append((b"content-encoding", b"gzip"))
        headers.append((b"content-type", self.content_type))
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def prebuilt(answer: object) -> CachedResponse:
    """The response with this object as JSON."""
    return CachedResponse.of(msgspec.json.encode(answer))


def _takes_gzip(scope: Scope) -> bool:
    """Whether the client accepts gzip (RFC 9110, section 12.5.3); a quality of 0 refuses it."""
    for part in (header(scope, b"accept-encoding") or "").lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() in {"gzip", "x-gzip"}:
            return parameters.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _has_it(scope: Scope, etags: tuple[bytes, bytes]) -> bool:
    """Whether `If-None-Match` names a tag, compared weakly (RFC 9110, section 13.1.2)."""
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            if value in etags:
                return True
            tags = [tag.strip().removeprefix(b"W/") for tag in value.split(b",")]
            if any(etag in tags for etag in etags) or tags == [b"*"]:
                return True
    return False


# Most clients are at one of the newest versions; pages for all versions would take memory by the square.
_KEPT_PAGES = 64
_FOR_EVER = b"public, max-age=31536000, immutable"


class Pages:
    """The responses for one snapshot. Building them may take milliseconds: keep it off the event loop."""

    def __init__(self, snapshot: PublishedRegistry) -> None:
        self.snapshot = snapshot
        self._entries = [msgspec.json.encode(_signed(snapshot, index)) for index in range(snapshot.version)]
        self._parts = {
            part.listed.sha256: CachedResponse.of(
                part.content, cache_control=_FOR_EVER, content_type=b"application/octet-stream"
            )
            for part in snapshot.parts
        }
        self._contracts = contracts(snapshot.migrations)
        self._kept: Lru[tuple[int, int], CachedResponse] = Lru(_KEPT_PAGES)
        self.current_version = prebuilt(wire.CurrentVersion(snapshot.version))
        self.full = prebuilt([script(row) for row in snapshot.rows])
        self.keys = prebuilt([_key(snapshot, key.key_id, key.public_key) for key in snapshot.keys])

    async def after(self, version: int, app: str) -> CachedResponse:
        """The migrations after `version`, up to the newest that this version of the app can work with.

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
        """One migration, cacheable for ever: what was published never changes."""
        if not 1 <= version <= self.snapshot.version:
            return None
        body = self._entries[version - 1]
        return CachedResponse.of(body, cache_control=_FOR_EVER)

    def part(self, sha256: str) -> CachedResponse | None:
        """A part of this release, cacheable for ever: it is named by its hash."""
        return self._parts.get(sha256)

    def _readable(self, app: str) -> tuple[int, str]:
        """The newest version that the app can work with, and the version it needs for the next, if any."""
        numbers = app_version(app) if self._contracts else None
        for contract in self._contracts:
            if numbers is not None and contract.needs > numbers:
                return contract.version - 1, contract.min_app
        return self.snapshot.version, ""

    def _build(self, version: int, end: int, needs_app: str) -> CachedResponse:
        snapshot = self.snapshot
        manifest = snapshot.manifest
        empty = wire.MigrationPage(
            version=snapshot.version,
            chain=snapshot.chain,
            counter=manifest.counter if manifest else 0,
            expires_at_s=manifest.expires_at_s if manifest else 0,
            signature=manifest.signature if manifest else "",
            key_id=manifest.key_id if manifest else "",
            migrations=(),
            withheld=tuple(row.checksum for row in snapshot.rows[end:]),
            needs_app=needs_app,
            release=wire.SignedText(text=manifest.text, signature=manifest.text_signature)
            if manifest and manifest.text
            else None,
        )
        head, tail = msgspec.json.encode(empty).split(b'"migrations":[]', 1)
        entries = b",".join(self._entries[version:end])
        return CachedResponse.of(b"".join((head, b'"migrations":[', entries, b"]", tail)), vary=b"Freehold-App-Version")


def script(row: PublishedMigration) -> wire.MigrationScript:
    """The row as `GET /migrations/full` returns it."""
    return wire.MigrationScript(
        version=row.version,
        description=row.description,
        sql_script=row.sql,
        checksum=row.checksum,
        created_at=row.created_at,
    )


def _signed(snapshot: PublishedRegistry, index: int) -> wire.SignedMigration:
    row, migration = snapshot.rows[index], snapshot.migrations[index]
    release = release_of(migration)
    return wire.SignedMigration(
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


def _key(snapshot: PublishedRegistry, key_id: str, public_key: str) -> wire.PublicKey:
    words = {
        each.kind: wire.KeyWord(by_key_id=each.by_key_id, signature=each.signature)
        for each in snapshot.statements
        if each.key_id == key_id
    }
    return wire.PublicKey(
        key_id=key_id,
        algorithm=ALGORITHM,
        public_key=public_key,
        endorsed=words.get("endorsed"),
        retired=words.get("retired"),
    )
