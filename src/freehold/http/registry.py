"""The schema registry over HTTP."""

import asyncio
import hashlib
from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK
from litestar.types import ASGIApp

from freehold.http.guards import require_admin
from freehold.http.prebuilt import Prebuilt
from freehold.migrate.signature import ALGORITHM
from freehold.registry.service import Registry
from freehold.registry.snapshot import Snapshot
from freehold.registry.types import MAX_VERSION, PublishedMigration
from freehold.wire import (
    CurrentVersion,
    MigrationPage,
    MigrationScript,
    PublicKey,
    RegisteredMigration,
    RegisterRequest,
    SignedMigration,
    VerifyAnswer,
    VerifyRequest,
)

After = Annotated[
    int, QueryParameter(ge=0, le=MAX_VERSION, description="The schema version that the client is at.")
]


class Pages:
    """The answers that one snapshot gives, encoded as far as possible. Building them may take milliseconds."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._entries = [msgspec.json.encode(_signed(snapshot, index)) for index in range(snapshot.version)]
        self._start = msgspec.json.encode(_empty_page(snapshot)).removesuffix(b"]}")
        self._digest = hashlib.sha256(b"\n".join([self._start, *self._entries])).hexdigest()[:32]
        self.current_version = _prebuilt(CurrentVersion(snapshot.version))
        self.full = _prebuilt([_script(row) for row in snapshot.rows])
        self.keys = _prebuilt(
            [
                PublicKey(key_id=key.key_id, algorithm=ALGORITHM, public_key=key.public_key)
                for key in snapshot.keys
            ]
        )

    def after(self, version: int) -> Prebuilt:
        """Joined anew each time, which takes microseconds: kept pages would need memory by the square."""
        version = min(version, self.snapshot.version)
        body = b"".join((self._start, b",".join(self._entries[version:]), b"]}"))
        return Prebuilt(body, b'"%s-%d"' % (self._digest.encode(), version))


class Pulls:
    """Holds its service itself: having it injected would cost a pull a tenth of its speed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._pages: Pages | None = None

    async def pages(self) -> Pages:
        """The answers of the registry as it is now."""
        snapshot = await self._registry.snapshot()
        pages = self._pages
        if pages is None or pages.snapshot is not snapshot:
            pages = self._pages = await asyncio.to_thread(Pages, snapshot)
        return pages


def registry_routes(registry: Registry) -> Router:
    """`/migrations`. Open to everyone: the schema is what an app ships anyway. Publishing is for admins."""
    pulls = Pulls(registry)

    @get(
        "/",
        operation_id="list_migrations",
        responses={200: ResponseSpec(MigrationPage, description="Signed migrations; strong ETag")},
    )
    async def list_migrations(after: After = 0) -> ASGIApp:
        """What a database at version `after` still has to apply, oldest first, with what proves it genuine."""
        return (await pulls.pages()).after(after)

    @get(
        "/current-version",
        operation_id="current_version",
        responses={200: ResponseSpec(CurrentVersion, description="Newest version; strong ETag")},
    )
    async def current_version() -> ASGIApp:
        """The newest published version; 0 before the first."""
        return (await pulls.pages()).current_version

    @get(
        "/full",
        operation_id="full_registry",
        responses={200: ResponseSpec(list[MigrationScript], description="All scripts; strong ETag")},
    )
    async def full() -> ASGIApp:
        """Every published migration, oldest first."""
        return (await pulls.pages()).full

    @get(
        "/keys",
        operation_id="registry_keys",
        responses={200: ResponseSpec(list[PublicKey], description="Public keys; strong ETag")},
    )
    async def keys() -> ASGIApp:
        """The public keys that migrations are signed with. Pin them: they change only when a key is replaced."""
        return (await pulls.pages()).keys

    @post("/verify", operation_id="verify_version", status_code=HTTP_200_OK)
    async def verify(data: JSONBody[VerifyRequest]) -> VerifyAnswer:
        """Whether a client must migrate, and with what. A version never published here is 409 `client_ahead`."""
        verdict = await registry.verify(data.version)
        return VerifyAnswer(
            status="update_required" if verdict.required else "latest",
            current_version=verdict.current_version,
            client_version=verdict.client_version,
            required_migrations=[_script(row) for row in verdict.required] or None,
        )

    @post("/register", operation_id="register_migration", guards=[require_admin])
    async def register(data: JSONBody[RegisterRequest]) -> RegisteredMigration:
        """Publish one migration as the next version. The newest one's SQL again is 409 `already_published`."""
        row = await registry.register(data.sql_script, data.description)
        return RegisteredMigration(**msgspec.structs.asdict(_script(row)), name=row.name, chain=row.chain)

    return Router(
        "/migrations",
        route_handlers=[list_migrations, current_version, full, keys, verify, register],
        tags=["migrations"],
    )


def _prebuilt(answer: object) -> Prebuilt:
    body = msgspec.json.encode(answer)
    return Prebuilt(body, b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode())


def _script(row: PublishedMigration) -> MigrationScript:
    return MigrationScript(
        version=row.version,
        description=row.description,
        sql_script=row.sql,
        checksum=row.checksum,
        created_at=row.created_at,
    )


def _signed(snapshot: Snapshot, index: int) -> SignedMigration:
    row, migration = snapshot.rows[index], snapshot.migrations[index]
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
    )


def _empty_page(snapshot: Snapshot) -> MigrationPage:
    head = snapshot.head
    return MigrationPage(
        version=snapshot.version,
        chain=snapshot.chain,
        signature=head.signature if head else "",
        key_id=head.key_id if head else "",
        migrations=(),
    )
