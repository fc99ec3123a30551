"""The schema registry over HTTP."""

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import Request, Router, get, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK
from litestar.types import ASGIApp

from freehold.errors import AppTooOld, Conflict, NotFound
from freehold.http.auth.bodies import Field, documented_query
from freehold.http.auth.context import answers
from freehold.http.guards import require_admin
from freehold.http.registry.client_reports import ClientReports, said_in
from freehold.http.registry.pages import Pages, script
from freehold.http.route_facts import facts
from freehold.registry.service import Registry
from freehold.registry.types import MAX_VERSION, ClientAhead
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

_PART = "The part's bytes; immutable, strong ETag"
_UNCHANGED = {304: ResponseSpec(None, description="`If-None-Match` names it: the client has it already.")}
_IF_NONE_MATCH = Field("If-None-Match", is_required=False)
_CACHED = documented_query(headers=[_IF_NONE_MATCH])
_TOLD = documented_query(
    headers=[
        _IF_NONE_MATCH,
        Field("Freehold-App-Version", is_required=False),
        Field("Freehold-Device", is_required=False),
    ]
)


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


def registry_routes(registry: Registry, reports: ClientReports | None = None) -> Router:
    """`/migrations`. Open to everyone: the schema is what an app ships anyway. Publishing is for admins."""
    pulls = Pulls(registry)

    @get(
        "/",
        operation_id="list_migrations",
        operation_class=_TOLD,
        opt=facts(AppTooOld),
        responses={**answers(MigrationPage, words="Signed migrations; strong ETag"), **_UNCHANGED},
    )
    async def list_migrations(request: Request[Any, Any, Any], after: After = 0) -> ASGIApp:
        """What a database at version `after` still has to apply, oldest first, with what proves it genuine.

        An app that says its version in `Freehold-App-Version` gets the newest schema that it can work with; if
        the database is beyond that, 426 `app_too_old`.
        """
        said = said_in(request.scope)
        if reports is not None and (said.device or said.app):
            reports.note(request.scope, said, after)
        return await (await pulls.pages()).after(after, said.app)

    @get(
        "/{version:int}",
        operation_id="one_migration",
        operation_class=_CACHED,
        opt=facts(NotFound),
        responses={**answers(SignedMigration, words="One migration; immutable, strong ETag"), **_UNCHANGED},
    )
    async def one_migration(version: FromPath[int]) -> ASGIApp:
        """One published migration. It never changes: caches may keep it for ever."""
        found = (await pulls.pages()).single(version)
        if found is None:
            raise NotFound(f"there is no published migration {version}")
        return found

    @get(
        "/current-version",
        operation_id="current_version",
        operation_class=_CACHED,
        responses={**answers(CurrentVersion, words="Newest version; strong ETag"), **_UNCHANGED},
    )
    async def current_version() -> ASGIApp:
        """The newest published version; 0 before the first."""
        return (await pulls.pages()).current_version

    @get(
        "/full",
        operation_id="full_registry",
        operation_class=_CACHED,
        responses={**answers(list[MigrationScript], words="All scripts; strong ETag"), **_UNCHANGED},
    )
    async def full() -> ASGIApp:
        """Every published migration, oldest first."""
        return (await pulls.pages()).full

    @get(
        "/keys",
        operation_id="registry_keys",
        operation_class=_CACHED,
        responses={**answers(list[PublicKey], words="Public keys; strong ETag"), **_UNCHANGED},
    )
    async def keys() -> ASGIApp:
        """The public keys that migrations are signed with. Pin them: they change only when a key is replaced."""
        return (await pulls.pages()).keys

    @get(
        "/parts/{sha256:str}",
        operation_id="release_part",
        operation_class=_CACHED,
        opt=facts(NotFound),
        media_type="application/octet-stream",
        responses={
            200: ResponseSpec(
                bytes, generate_examples=False, media_type="application/octet-stream", description=_PART
            ),
            **_UNCHANGED,
        },
    )
    async def part(sha256: FromPath[str]) -> ASGIApp:
        """A further part of the newest release, by the hash that the release's signed text names."""
        found = (await pulls.pages()).part(sha256)
        if found is None:
            raise NotFound("the newest release has no such part; pull it again")
        return found

    @post("/verify", operation_id="verify_version", opt=facts(ClientAhead), status_code=HTTP_200_OK)
    async def verify(data: JSONBody[VerifyRequest]) -> VerifyAnswer:
        """Whether a client must migrate, and with what. A version never published here is 409 `client_ahead`."""
        verdict = await registry.verify(data.version)
        return VerifyAnswer(
            status="update_required" if verdict.required else "latest",
            current_version=verdict.current_version,
            client_version=verdict.client_version,
            required_migrations=[script(row) for row in verdict.required] or None,
        )

    @post("/register", operation_id="register_migration", opt=facts(Conflict), guards=[require_admin])
    async def register(data: JSONBody[RegisterRequest]) -> RegisteredMigration:
        """Publish one migration as the next version. The newest one's SQL again is 409 `already_published`."""
        row = await registry.register(data.sql_script, data.description)
        return RegisteredMigration(**msgspec.structs.asdict(script(row)), name=row.name, chain=row.chain)

    return Router(
        "/migrations",
        route_handlers=[list_migrations, one_migration, current_version, full, keys, part, verify, register],
        tags=["migrations"],
    )
