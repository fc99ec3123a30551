"""`/admin/tenants`: tenants and their life, for administrators."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, post
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import File
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED
from msgspec import Meta, Struct

from freehold.errors import Conflict, NotFound, TooLarge
from freehold.http.guards import require_admin
from freehold.http.route_facts import facts
from freehold.migrate.copying import Copied
from freehold.tenants.errors import DatabaseDeleted
from freehold.tenants.lifecycle import Lifecycle
from freehold.tenants.listing import TenantListing
from freehold.tenants.types import Tenant, TenantState

_MAX_PAGE = 500
_MAX_UPLOAD_BYTES = 2_000_000_000

State = Annotated[TenantState | None, QueryParameter(name="state", description="Only tenants in this state.")]
After = Annotated[str, QueryParameter(max_length=64, description="Go on after this tenant.")]
Limit = Annotated[int, QueryParameter(ge=1, le=_MAX_PAGE, description="At most so many.")]
Accept = Annotated[bool, QueryParameter(description="Also if tables are not as the migrations made them.")]


class TenantPage(Struct, frozen=True, kw_only=True):
    """In order of `tenant_id`. `after` is what to ask for next, null after the last page."""

    tenants: list[Tenant]
    after: str | None


class SuspendRequest(Struct, frozen=True):
    """Why; its user reads it, in the refusal of `GET /databases/user` and where the database itself answers."""

    reason: Annotated[str, Meta(max_length=500)] = ""


class RestoredTenant(Struct, frozen=True, kw_only=True):
    """What a restore made. `changed` names tables that were not as the migrations made them."""

    tenant: Tenant
    copied: Copied
    changed: tuple[str, ...]


class TenantsController(Controller):
    """A tenant is named by its id, its user's id or e-mail address, or its database's name."""

    path = "/admin/tenants"
    tags = ("admin",)

    @get(operation_id="list_tenants", guards=[require_admin])
    async def list_tenants(
        self,
        listing: NamedDependency[TenantListing],
        *,
        in_state: State = None,
        after: After = "",
        limit: Limit = 100,
    ) -> TenantPage:
        """Tenants in order of their id, page by page: each page costs the same, however many there are."""
        found = list(await listing.store.page(after=after, limit=limit, state=in_state))
        return TenantPage(tenants=found, after=found[-1].tenant_id if len(found) == limit else None)

    @get("/counts", operation_id="count_tenants", guards=[require_admin])
    async def count_tenants(self, listing: NamedDependency[TenantListing]) -> dict[str, int]:
        """How many tenants are in each state."""
        return {state.value: count for state, count in (await listing.counts()).items()}

    @get("/{reference:str}", operation_id="show_tenant", opt=facts(NotFound), guards=[require_admin])
    async def show_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> Tenant:
        """One tenant."""
        return await lifecycle.find(reference)

    @post(
        "/{reference:str}/suspend",
        operation_id="suspend_tenant",
        opt=facts(NotFound, Conflict, DatabaseDeleted),
        guards=[require_admin],
        status_code=HTTP_200_OK,
    )
    async def suspend_tenant(
        self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str], data: JSONBody[SuspendRequest]
    ) -> Tenant:
        """Have all reads and writes refused by the database's own engine."""
        return await lifecycle.suspend(reference, data.reason)

    @post(
        "/{reference:str}/resume",
        operation_id="resume_tenant",
        opt=facts(NotFound, Conflict, DatabaseDeleted),
        guards=[require_admin],
        status_code=HTTP_200_OK,
    )
    async def resume_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> Tenant:
        """End the suspension, and bring the database to the newest version."""
        return await lifecycle.resume(reference)

    @post(
        "/{reference:str}/migrate",
        operation_id="migrate_tenant",
        opt=facts(NotFound, Conflict, DatabaseDeleted),
        guards=[require_admin],
        status_code=HTTP_200_OK,
    )
    async def migrate_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> Tenant:
        """Bring the database to the newest published version."""
        return await lifecycle.migrate(reference)

    @post(
        "/{reference:str}/create",
        operation_id="create_tenant",
        opt=facts(NotFound, Conflict),
        guards=[require_admin],
        status_code=HTTP_200_OK,
    )
    async def create_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> Tenant:
        """Have a new, empty database made for a user who has none (any more); `provisioning` until it is there."""
        return await lifecycle.create(reference)

    @post(
        "/{reference:str}/fork",
        operation_id="fork_tenant",
        opt=facts(NotFound, Conflict, DatabaseDeleted),
        guards=[require_admin],
    )
    async def fork_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> Tenant:
        """Copy the database as it is now, as a tenant of no user."""
        return await lifecycle.fork(reference)

    @get(
        "/{reference:str}/export",
        operation_id="export_tenant",
        opt=facts(NotFound, Conflict, DatabaseDeleted),
        guards=[require_admin],
        media_type="application/octet-stream",
    )
    async def export_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> File:
        """The database as it is at one moment, as a SQLite file."""
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="freehold-"))
        try:
            tenant, _ = await lifecycle.export(reference, folder / "export.db")
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            raise
        return File(
            folder / "export.db",
            filename=f"{tenant.database_name}.db",
            media_type="application/octet-stream",
            headers={"Cache-Control": "no-store"},
            background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
        )

    @post(
        "/{reference:str}/restore",
        operation_id="restore_tenant",
        opt=facts(NotFound, Conflict, DatabaseDeleted),
        guards=[require_admin],
        status_code=HTTP_200_OK,
        request_max_body_size=_MAX_UPLOAD_BYTES,
    )
    async def restore_tenant(
        self,
        lifecycle: NamedDependency[Lifecycle],
        request: Request[Any, Any, Any],
        reference: FromPath[str],
        *,
        accept_changes: Accept = False,
    ) -> RestoredTenant:
        """Give the tenant a new database with the content of the SQLite file that is the body.

        Also a tenant whose database was deleted, as long as its user is there.
        """
        await lifecycle.find(reference)
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="freehold-"))
        try:
            await _receive(request, folder / "upload.db")
            done = await lifecycle.restore(reference, folder / "upload.db", accept_changes=accept_changes)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return RestoredTenant(tenant=done.tenant, copied=done.copied, changed=done.checked.changed)

    @delete(
        "/{reference:str}",
        operation_id="delete_tenant",
        opt=facts(NotFound, Conflict, DatabaseDeleted),
        guards=[require_admin],
        status_code=HTTP_200_OK,
    )
    async def delete_tenant(
        self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]
    ) -> Response[Tenant]:
        """Delete the database with all its data; 202 while the provider has not confirmed that it is gone."""
        await lifecycle.delete(reference)
        tenant = await lifecycle.find(reference)
        is_gone = tenant.state is TenantState.DELETED
        return Response(tenant, status_code=HTTP_200_OK if is_gone else HTTP_202_ACCEPTED)


async def _receive(request: Request[Any, Any, Any], path: Path) -> None:
    size_bytes = 0
    with await asyncio.to_thread(path.open, "wb") as file:
        async for part in request.stream():
            size_bytes += len(part)
            if size_bytes > _MAX_UPLOAD_BYTES:
                raise TooLarge("the file is too large to be restored over HTTP; use the command")
            await asyncio.to_thread(file.write, part)
