"""The databases that a user may open, their own and those they filled as a guest: address and token."""

from collections.abc import Callable
from typing import Annotated, Any

from litestar import Controller, Response, delete, get
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED
from msgspec import Struct

from freehold.auth.types import SignedIn
from freehold.dates import to_iso
from freehold.errors import NotFound
from freehold.http.guards import DatabaseCaller
from freehold.http.headers import Asked
from freehold.http.problems import EXCEPTION_HANDLERS
from freehold.http.route_facts import answers, facts
from freehold.profiles import Profile, narrowed
from freehold.tenants.errors import DatabaseDeleted, DatabaseDeleting, DatabaseSuspended
from freehold.tenants.guests import GuestDatabases
from freehold.tenants.service import Tenants
from freehold.tenants.types import PendingDatabase, TenantState, UserDatabase
from freehold.wire import DatabaseCredentials

Access = Annotated[
    Profile,
    QueryParameter(
        description="The token's profile; ask for `read_only` if that is enough. "
        "The service may grant less: the response's `profile` is what the token has."
    ),
]
GuestAccess = Annotated[
    Profile,
    QueryParameter(description="Read-only is enough to merge; `full` is for writes that a device still has to send."),
]

_MESSAGES = {
    TenantState.PROVISIONING: "Your database is being created. Ask again in a moment.",
    TenantState.FAILED: "Creating your database is taking too long. We keep trying; ask again in a moment.",
}
# The response holds a credential, and a refusal must not outlive its cause.
NEVER_STORED = {"Cache-Control": "no-store"}


class DatabasePending(Struct, frozen=True, kw_only=True):
    """The 202 of `GET /databases/user`: no database yet, so no URL and no token. `message` is for users."""

    id: str
    user_id: str
    db_name: str
    schema_version: int
    status: str
    message: str


DATABASE_ANSWERS = {
    **answers(DatabaseCredentials, words="The database and a new token"),
    **answers(DatabasePending, status=HTTP_202_ACCEPTED, words="Not ready yet: ask again after `Retry-After` seconds"),
}
DATABASE_REFUSALS = (NotFound, DatabaseSuspended, DatabaseDeleting, DatabaseDeleted)
"""Errors of every route that hands out a database, for the API description."""


def _unstored(handler: Callable[..., Response[Any]]) -> Callable[..., Response[Any]]:
    def handle(request: Asked, error: Exception) -> Response[Any]:
        response = handler(request, error)
        response.headers.update(NEVER_STORED)
        return response

    return handle


UNSTORED = {kind: _unstored(handler) for kind, handler in EXCEPTION_HANDLERS.items()}
"""Exception handlers for routes whose responses must not be cached."""


class DatabasesController(Controller):
    """Needs a session or an API key; only the caller's own database can be reached."""

    path = "/databases"
    tags = ("databases",)
    exception_handlers = UNSTORED

    @get(
        "/user",
        operation_id="user_database",
        opt=facts(*DATABASE_REFUSALS),
        responses=DATABASE_ANSWERS,
        response_headers=[
            ResponseHeader(name="Cache-Control", description="Always `no-store`", documentation_only=True)
        ],
    )
    async def user_database(
        self,
        tenants: NamedDependency[Tenants],
        database_caller: NamedDependency[DatabaseCaller],
        access_level: Access = "full",
    ) -> Response[DatabaseCredentials | DatabasePending]:
        """Return the caller's database with a new token; 202 while the database is being created.

        An API key (`x-api-key`) gets a `read_only` token, unless it has the scope `databases:write`.

        Refusals: 403 `database_suspended`, 409 `database_deleting`, 410 `database_deleted`, and 404 `not_found` for a
        user who was added by another tool and has no database yet.
        """
        caller = database_caller
        asked = access_level if caller.may_write else narrowed(access_level, "read_only")
        return database_reply(await tenants.database_of(caller.user_id, caller.reference, asked))


class GuestDatabase(Struct, frozen=True, kw_only=True):
    """A database that the user filled as a guest. `id` is the guest's; `linked_at` is when they signed in here."""

    id: str
    db_name: str
    schema_version: int
    status: str
    created_at: str
    linked_at: str


class GuestDatabasesController(Controller):
    """Needs a session. A guest that is not the caller's own is not found."""

    path = "/databases/guests"
    tags = ("databases",)
    exception_handlers = UNSTORED

    @get(operation_id="guest_databases")
    async def guest_databases(
        self, guest_databases: NamedDependency[GuestDatabases], signed_in: NamedDependency[SignedIn]
    ) -> Response[list[GuestDatabase]]:
        """List the guest databases to merge or delete, oldest link first. Nothing happens to them automatically."""
        found = [
            GuestDatabase(
                id=link.guest_id,
                db_name=tenant.database_name,
                schema_version=tenant.schema_version,
                status=tenant.state.value,
                created_at=tenant.created_at,
                linked_at=link.linked_at,
            )
            for link, tenant in await guest_databases.of_user(signed_in.user_id)
        ]
        return Response(found, headers=NEVER_STORED)

    @get("/{guest_id:str}", operation_id="guest_database", opt=facts(*DATABASE_REFUSALS), responses=DATABASE_ANSWERS)
    async def guest_database(
        self,
        guest_databases: NamedDependency[GuestDatabases],
        signed_in: NamedDependency[SignedIn],
        guest_id: FromPath[str],
        access_level: GuestAccess = "read_only",
    ) -> Response[DatabaseCredentials | DatabasePending]:
        """Return a guest's database with a new token; the response is that of `GET /databases/user`."""
        return database_reply(
            await guest_databases.open(signed_in.user_id, guest_id, signed_in.reference, access_level)
        )

    @delete("/{guest_id:str}", operation_id="delete_guest_database", opt=facts(NotFound))
    async def delete_guest_database(
        self,
        guest_databases: NamedDependency[GuestDatabases],
        signed_in: NamedDependency[SignedIn],
        guest_id: FromPath[str],
    ) -> None:
        """Delete a guest's database for good; first merge what should be kept."""
        await guest_databases.delete(signed_in.user_id, guest_id)


def database_reply(found: UserDatabase) -> Response[DatabaseCredentials | DatabasePending]:
    """A 200 with a token, or a 202 while there is none yet; neither may be cached."""
    tenant = found.tenant
    if isinstance(found, PendingDatabase):
        pending = DatabasePending(
            id=tenant.tenant_id,
            user_id=tenant.user_id,
            db_name=tenant.database_name,
            schema_version=tenant.schema_version,
            status=tenant.state.value,
            message=_MESSAGES[tenant.state],
        )
        headers = {**NEVER_STORED, "Retry-After": str(found.retry_after_s)}
        return Response(pending, status_code=HTTP_202_ACCEPTED, headers=headers)
    database, token = found.database, found.token
    credentials = DatabaseCredentials(
        id=tenant.tenant_id,
        user_id=tenant.user_id,
        db_id=database.db_id,
        db_name=database.name,
        hostname=database.hostname,
        url=database.url,
        access_token=token.text,
        access_level=token.access_level,
        profile=token.profile,
        expires_at=to_iso(token.expires_at),
        schema_version=tenant.schema_version,
        status=tenant.state.value,
    )
    return Response(credentials, status_code=HTTP_200_OK, headers=NEVER_STORED)


DATABASE_ROUTES = (DatabasesController, GuestDatabasesController)
