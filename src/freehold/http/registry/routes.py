"""The schema registry over HTTP: what clients pull, and what they report about themselves when they do."""

import asyncio
from typing import Annotated, Any, NamedTuple, get_args

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Operation
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK
from litestar.types import ASGIApp, Scope

from freehold import wire
from freehold.auth.recognition import CredentialKind
from freehold.auth.sessions.cookies import SessionCookies
from freehold.errors import AppTooOld, Conflict, FreeholdError, NotFound
from freehold.http.auth.bodies import documented_query, optional
from freehold.http.client_address import ClientAddresses
from freehold.http.guards import require_admin
from freehold.http.headers import API_KEY_HEADER, Asked, access_token_of, header, presented_by
from freehold.http.registry.pages import Pages, script
from freehold.http.route_facts import answers, facts
from freehold.http.single_router import SingleRouter
from freehold.registry.client_versions import ClientVersions
from freehold.registry.service import Registry
from freehold.registry.taken_down import Credential
from freehold.registry.types import MAX_VERSION, ClientAhead

# What a client reports when it pulls, and the credential that identifies it.

APP_HEADER, DEVICE_HEADER = b"freehold-app-version", b"freehold-device"
_MAX_SAID_CHARS = 64
# Longer than any of our credentials; they are kept in memory for a moment.
_MAX_CREDENTIAL_CHARS = 4_096
_SESSION, _ACCESS_TOKEN, _API_KEY = get_args(CredentialKind)


class Said(NamedTuple):
    """Empty where nothing valid was sent."""

    app: str
    device: str


def said_in(scope: Scope) -> Said:
    """What the request's headers report."""
    app = device = ""
    for name, value in scope["headers"]:
        if name == APP_HEADER:
            app = app or _said(value)
        elif name == DEVICE_HEADER:
            device = device or _said(value)
    return Said(app, device)


class ClientReports:
    """Notes reports with the client's credential, which is recognised later, outside the request."""

    def __init__(self, reports: ClientVersions, cookies: SessionCookies, addresses: ClientAddresses) -> None:
        self._reports = reports
        self._cookies = cookies
        self._addresses = addresses

    def note(self, scope: Scope, said: Said, schema_version: int) -> None:
        """Note what this request reports; takes microseconds."""
        self._reports.note(
            said.device,
            said.app,
            schema_version,
            address=self._addresses.accountable(scope),
            credential=self._credential(scope),
        )

    def _credential(self, scope: Scope) -> Credential | None:
        """The credential of the request: an API key first, as everywhere. A cookie with a bad signature is none."""
        if (api_key := header(scope, API_KEY_HEADER)) is not None:
            found = Credential(_API_KEY, api_key)
        elif (access_token := access_token_of(scope)) is not None:
            found = Credential(_ACCESS_TOKEN, access_token)
        elif (presented := presented_by(scope, self._cookies)) is not None:
            found = Credential(_SESSION, presented.token)
        else:
            return None
        return found if len(found.text) <= _MAX_CREDENTIAL_CHARS else None


def _said(value: bytes) -> str:
    text = value.decode("latin-1")
    return text if len(text) <= _MAX_SAID_CHARS and text.isascii() and text.isprintable() else ""


After = Annotated[int, QueryParameter(ge=0, le=MAX_VERSION, description="The schema version that the client is at.")]

_PART = "The part's bytes; immutable, strong ETag"
_UNCHANGED = {304: ResponseSpec(None, description="`If-None-Match` names it: the client already has it.")}
_IF_NONE_MATCH = optional("If-None-Match")
_CACHED = documented_query(headers=[_IF_NONE_MATCH])
_TOLD = documented_query(headers=[_IF_NONE_MATCH, optional("Freehold-App-Version"), optional("Freehold-Device")])


class Pulls:
    """Holds its service itself: injecting it would cost a pull a tenth of its speed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._pages: Pages | None = None

    async def pages(self) -> Pages:
        """The responses for the current state of the registry."""
        snapshot = await self._registry.snapshot()
        pages = self._pages
        if pages is None or pages.snapshot is not snapshot:
            pages = self._pages = await asyncio.to_thread(Pages, snapshot)
        return pages


def registry_routes(registry: Registry, reports: ClientReports | None = None) -> SingleRouter:
    """`/migrations`. Open to everyone, as apps ship the schema anyway; publishing is for administrators."""
    handlers = [*_pull_routes(Pulls(registry), reports), *_version_routes(registry)]
    return SingleRouter("/migrations", route_handlers=handlers, tags=["migrations"])


def _cached(
    path: str,
    operation_id: str,
    gives: Any,
    words: str,
    *refuses: type[FreeholdError],
    described: type[Operation] = _CACHED,
) -> get:
    """A route whose responses clients revalidate by their ETag."""
    return get(
        path,
        operation_id=operation_id,
        operation_class=described,
        opt=facts(*refuses),
        responses={**answers(gives, words=words), **_UNCHANGED},
    )


def _pull_routes(pulls: Pulls, reports: ClientReports | None) -> list[HTTPRouteHandler]:
    @_cached("/", "list_migrations", wire.MigrationPage, "Signed migrations; strong ETag", AppTooOld, described=_TOLD)
    async def list_migrations(request: Asked, after: After = 0) -> ASGIApp:
        """List the migrations after version `after`, oldest first, with what proves them genuine.

        An app that sends its version in `Freehold-App-Version` gets the newest schema that it can work with; if the
        database is beyond that, 426 `app_too_old`.
        """
        said = said_in(request.scope)
        if reports is not None and (said.device or said.app):
            reports.note(request.scope, said, after)
        return await (await pulls.pages()).after(after, said.app)

    @_cached("/{version:int}", "one_migration", wire.SignedMigration, "One migration; immutable, strong ETag", NotFound)
    async def one_migration(version: FromPath[int]) -> ASGIApp:
        """Return one published migration. It never changes: caches may keep it for ever."""
        found = (await pulls.pages()).single(version)
        if found is None:
            raise NotFound(f"there is no published migration {version}")
        return found

    @_cached("/current-version", "current_version", wire.CurrentVersion, "Newest version; strong ETag")
    async def current_version() -> ASGIApp:
        """Return the newest published version; 0 before the first."""
        return (await pulls.pages()).current_version

    @_cached("/full", "full_registry", list[wire.MigrationScript], "All scripts; strong ETag")
    async def full() -> ASGIApp:
        """List every published migration, oldest first."""
        return (await pulls.pages()).full

    @_cached("/keys", "registry_keys", list[wire.PublicKey], "Public keys; strong ETag")
    async def keys() -> ASGIApp:
        """List the public keys that migrations are signed with. Pin them: they change only when a key is replaced."""
        return (await pulls.pages()).keys

    @get(
        "/parts/{sha256:str}",
        operation_id="release_part",
        operation_class=_CACHED,
        opt=facts(NotFound),
        media_type="application/octet-stream",
        responses={
            200: ResponseSpec(bytes, generate_examples=False, media_type="application/octet-stream", description=_PART),
            **_UNCHANGED,
        },
    )
    async def part(sha256: FromPath[str]) -> ASGIApp:
        """Return a further part of the newest release, by the hash in the release's signed text."""
        found = (await pulls.pages()).part(sha256)
        if found is None:
            raise NotFound("the newest release has no such part; pull it again")
        return found

    return [list_migrations, one_migration, current_version, full, keys, part]


def _version_routes(registry: Registry) -> list[HTTPRouteHandler]:
    @post("/verify", operation_id="verify_version", opt=facts(ClientAhead), status_code=HTTP_200_OK)
    async def verify(data: JSONBody[wire.VerifyRequest]) -> wire.VerifyAnswer:
        """Check whether a client must migrate, and return the migrations. An unknown version is 409 `client_ahead`."""
        verdict = await registry.verify(data.version)
        return wire.VerifyAnswer(
            status="update_required" if verdict.required else "latest",
            current_version=verdict.current_version,
            client_version=verdict.client_version,
            required_migrations=[script(row) for row in verdict.required] or None,
        )

    @post("/register", operation_id="register_migration", opt=facts(Conflict), guards=[require_admin])
    async def register(data: JSONBody[wire.RegisterRequest]) -> wire.RegisteredMigration:
        """Publish one migration as the next version. Repeating the newest one's SQL is 409 `already_published`."""
        row = await registry.register(data.sql_script, data.description)
        return wire.RegisteredMigration(**msgspec.structs.asdict(script(row)), name=row.name, chain=row.chain)

    return [verify, register]
