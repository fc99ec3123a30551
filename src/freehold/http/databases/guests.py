"""The databases that a user filled as a guest, before signing in to an account they had."""

from typing import Annotated

from litestar import Controller, Response, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from freehold.auth.types import SignedIn
from freehold.errors import NotFound
from freehold.http.databases.own import (
    DATABASE_ANSWERS,
    DATABASE_REFUSALS,
    NEVER_STORED,
    UNSTORED,
    DatabasePending,
    database_reply,
)
from freehold.http.route_facts import facts
from freehold.profiles import Profile
from freehold.tenants.guests import GuestDatabases
from freehold.wire import DatabaseCredentials

Access = Annotated[
    Profile,
    QueryParameter(
        description="Reading is enough to merge; `full` is for writes that a device still has to send."
    ),
]


class GuestDatabase(Struct, frozen=True, kw_only=True):
    """One of them. `id` is the guest's; `linked_at` is when they signed in to this account."""

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
        """The databases to merge, or to delete, the oldest link first. Nothing happens to them by itself."""
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

    @get(
        "/{guest_id:str}",
        operation_id="guest_database",
        opt=facts(*DATABASE_REFUSALS),
        responses=DATABASE_ANSWERS,
    )
    async def guest_database(
        self,
        guest_databases: NamedDependency[GuestDatabases],
        signed_in: NamedDependency[SignedIn],
        guest_id: FromPath[str],
        access_level: Access = "read_only",
    ) -> Response[DatabaseCredentials | DatabasePending]:
        """One of them, with a token made for this answer; the answer is that of `GET /databases/user`."""
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
        """Delete it for good: merge first what shall be kept. There is no way back."""
        await guest_databases.delete(signed_in.user_id, guest_id)
