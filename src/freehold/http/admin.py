"""`/admin`: tenants and their lifecycle, rollouts, versions in use and the audit trail, for administrators."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter, SkipValidation
from litestar.response import File
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED
from msgspec import Meta, Struct

from freehold.audit.service import Audit
from freehold.audit.types import Filter, moment
from freehold.errors import Conflict, NotFound, TooLarge
from freehold.http.guards import require_admin
from freehold.http.headers import Asked
from freehold.http.route_facts import facts
from freehold.migrate.copying import Copied
from freehold.registry.client_versions import LIVE_DAYS, Census, ClientVersions
from freehold.registry.service import Registry
from freehold.rollouts.types import Progress, Rollout
from freehold.tenants.errors import DatabaseDeleted
from freehold.tenants.lifecycle import Lifecycle
from freehold.tenants.listing import TenantListing
from freehold.tenants.types import Tenant, TenantState
from freehold.wiring.services import Services

_MAX_PAGE = 500
_MAX_UPLOAD_BYTES = 2_000_000_000
# On each route, not on the controller: its guards would apply to OPTIONS too.
_ADMIN = [require_admin]
_STEERS: dict[str, Any] = {"opt": facts(NotFound, Conflict), "status_code": HTTP_200_OK, "guards": _ADMIN}
_CHANGES: dict[str, Any] = {**_STEERS, "opt": facts(NotFound, Conflict, DatabaseDeleted)}

Limit = Annotated[int, QueryParameter(ge=1, le=_MAX_PAGE, description="At most this many.")]
State = Annotated[TenantState | None, QueryParameter(name="state", description="Only tenants in this state.")]
After = Annotated[str, QueryParameter(max_length=64, description="Continue after this tenant.")]
Accept = Annotated[bool, QueryParameter(description="Also if tables differ from what the migrations created.")]


class TenantPage(Struct, frozen=True, kw_only=True):
    """In order of `tenant_id`. Pass `after` to get the next page; it is null on the last one."""

    tenants: list[Tenant]
    after: str | None


class SuspendRequest(Struct, frozen=True):
    """The reason, which the user sees when `GET /databases/user` or the database itself refuses."""

    reason: Annotated[str, Meta(max_length=500)] = ""


class RestoredTenant(Struct, frozen=True, kw_only=True):
    """The result of a restore. `changed` names the tables that differ from what the migrations create."""

    tenant: Tenant
    copied: Copied
    changed: tuple[str, ...]


class TenantsController(Controller):
    """A tenant is identified by its id, its user's id or e-mail address, or its database's name."""

    path = "/admin/tenants"
    tags = ("admin",)

    @get(operation_id="list_tenants", guards=_ADMIN)
    async def list_tenants(
        self, listing: NamedDependency[TenantListing], *, in_state: State = None, after: After = "", limit: Limit = 100
    ) -> TenantPage:
        """List tenants by id, page by page. Every page costs the same, however many tenants there are."""
        found = list(await listing.store.page(after=after, limit=limit, state=in_state))
        return TenantPage(tenants=found, after=found[-1].tenant_id if len(found) == limit else None)

    @get("/counts", operation_id="count_tenants", guards=_ADMIN)
    async def count_tenants(self, listing: NamedDependency[TenantListing]) -> dict[str, int]:
        """Count the tenants in each state."""
        return {state.value: count for state, count in (await listing.counts()).items()}

    @get("/{reference:str}", operation_id="show_tenant", opt=facts(NotFound), guards=_ADMIN)
    async def show_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> Tenant:
        """Return one tenant."""
        return await lifecycle.find(reference)

    @post("/{reference:str}/suspend", operation_id="suspend_tenant", **_CHANGES)
    async def suspend_tenant(
        self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str], data: JSONBody[SuspendRequest]
    ) -> Tenant:
        """Suspend a tenant: its database's own engine refuses all reads and writes."""
        return await lifecycle.suspend(reference, data.reason)

    @post("/{reference:str}/resume", operation_id="resume_tenant", **_CHANGES)
    async def resume_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> Tenant:
        """End the suspension, and migrate the database to the newest version."""
        return await lifecycle.resume(reference)

    @post("/{reference:str}/migrate", operation_id="migrate_tenant", **_CHANGES)
    async def migrate_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> Tenant:
        """Migrate the database to the newest published version."""
        return await lifecycle.migrate(reference)

    @post("/{reference:str}/create", operation_id="create_tenant", **_STEERS)
    async def create_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> Tenant:
        """Create a new, empty database for a user who has none; it is `provisioning` until it exists."""
        return await lifecycle.create(reference)

    @post("/{reference:str}/fork", operation_id="fork_tenant", opt=_CHANGES["opt"], guards=_ADMIN)
    async def fork_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> Tenant:
        """Copy the database as it is now into a new tenant that belongs to no user."""
        return await lifecycle.fork(reference)

    @get(
        "/{reference:str}/export",
        operation_id="export_tenant",
        opt=_CHANGES["opt"],
        media_type="application/octet-stream",
        guards=_ADMIN,
    )
    async def export_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> File:
        """Download the database as it is at one point in time, as a SQLite file."""
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
        "/{reference:str}/restore", operation_id="restore_tenant", **_CHANGES, request_max_body_size=_MAX_UPLOAD_BYTES
    )
    async def restore_tenant(
        self,
        lifecycle: NamedDependency[Lifecycle],
        request: Asked,
        reference: FromPath[str],
        *,
        accept_changes: Accept = False,
    ) -> RestoredTenant:
        """Give the tenant a new database with the content of the SQLite file in the body.

        This also works after the database was deleted, as long as its user exists.
        """
        await lifecycle.find(reference)
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="freehold-"))
        try:
            await _receive(request, folder / "upload.db")
            done = await lifecycle.restore(reference, folder / "upload.db", accept_changes=accept_changes)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return RestoredTenant(tenant=done.tenant, copied=done.copied, changed=done.checked.changed)

    @delete("/{reference:str}", operation_id="delete_tenant", **_CHANGES)
    async def delete_tenant(self, lifecycle: NamedDependency[Lifecycle], reference: FromPath[str]) -> Response[Tenant]:
        """Delete the database with all its data; 202 until the provider has confirmed that it is gone."""
        await lifecycle.delete(reference)
        tenant = await lifecycle.find(reference)
        is_gone = tenant.state is TenantState.DELETED
        return Response(tenant, status_code=HTTP_200_OK if is_gone else HTTP_202_ACCEPTED)


async def _receive(request: Asked, path: Path) -> None:
    size_bytes = 0
    with await asyncio.to_thread(path.open, "wb") as file:
        async for part in request.stream():
            size_bytes += len(part)
            if size_bytes > _MAX_UPLOAD_BYTES:
                raise TooLarge("the file is too large to be restored over HTTP; use the command")
            await asyncio.to_thread(file.write, part)


# Injected by us, and partly of types that cannot be decoded: there is nothing to validate.
Made = SkipValidation[Services]
Newest = Annotated[int, QueryParameter(ge=1, le=100, description="At most this many.")]


class RolloutsController(Controller):
    """Progress and control of rollouts; `freehold rollout` starts and runs them."""

    path = "/admin/rollouts"
    tags = ("admin",)

    @get(operation_id="list_rollouts", guards=_ADMIN)
    async def list_rollouts(self, services: NamedDependency[Made], limit: Newest = 20) -> list[Rollout]:
        """List the newest rollouts, newest first."""
        return list(await services.rollouts.store.newest(limit))

    @get("/{rollout_id:str}", operation_id="show_rollout", opt=facts(NotFound), guards=_ADMIN)
    async def show(self, services: NamedDependency[Made], rollout_id: FromPath[str]) -> Progress:
        """Return the progress of a rollout, with failures grouped by cause."""
        return await services.rollouts.progress(rollout_id)

    @post("/{rollout_id:str}/pause", operation_id="pause_rollout", **_STEERS)
    async def pause(self, services: NamedDependency[Made], rollout_id: FromPath[str]) -> Rollout:
        """Pause a rollout: no further tenants are started; those in progress finish."""
        return await services.rollouts.pause(rollout_id, "paused by an administrator")

    @post("/{rollout_id:str}/resume", operation_id="resume_rollout", **_STEERS)
    async def resume(self, services: NamedDependency[Made], rollout_id: FromPath[str]) -> Rollout:
        """Resume a rollout; a `freehold rollout work` process runs it."""
        return await services.rollouts.resume(rollout_id)

    @post("/{rollout_id:str}/abort", operation_id="abort_rollout", **_STEERS)
    async def abort(self, services: NamedDependency[Made], rollout_id: FromPath[str]) -> Rollout:
        """Abort a rollout where it stands: no migrated tenant is rolled back."""
        return await services.rollouts.abort(rollout_id, "aborted by an administrator")


Days = Annotated[int, QueryParameter(ge=1, le=180, description="Count devices seen within this many days.")]


class CensusController(Controller):
    """The versions in use, which contract migrations wait for."""

    path = "/admin/registry"
    tags = ("admin",)

    @get("/census", operation_id="registry_census", guards=_ADMIN)
    async def census(
        self, registry: NamedDependency[Registry], reports: NamedDependency[ClientVersions], days: Days = LIVE_DAYS
    ) -> Census:
        """Count users, and devices without a user, by the app and schema version they reported; tenants by state."""
        return await reports.census((await registry.snapshot()).version, days)


Before = Annotated[int | None, QueryParameter(ge=1, description="Only entries older than this one.")]
Action = Annotated[str | None, QueryParameter(description="Only this action, e.g. `user.signed_in`.")]
Actor = Annotated[str | None, QueryParameter(description="Only by this actor, e.g. `user:ID`.")]
Target = Annotated[str | None, QueryParameter(description="Only what was done to this, e.g. `tenant:ID`.")]
Since = Annotated[str | None, QueryParameter(description="From this UTC timestamp on, `2026-01-31T10:20:30Z`.")]
Until = Annotated[str | None, QueryParameter(description="Before this UTC timestamp.")]


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One entry. `hash` covers it and the hash of entry `seq - 1`."""

    seq: int
    at: str
    action: str
    actor: str
    target: str
    ip_address: str
    request_id: str
    details: dict[str, Any]
    hash: str


class AuditPage(Struct, frozen=True, kw_only=True):
    """Newest first. Pass `before` to get the next page; it is null on the last one."""

    entries: list[AuditEntry]
    before: int | None


class AuditController(Controller):
    """Read-only: the trail is append-only."""

    path = "/admin/audit"
    tags = ("admin",)

    @get(operation_id="list_audit", guards=_ADMIN)
    async def list_audit(
        self,
        audit: NamedDependency[Audit],
        *,
        before: Before = None,
        limit: Limit = 50,
        action: Action = None,
        actor: Actor = None,
        target: Target = None,
        since: Since = None,
        until: Until = None,
    ) -> AuditPage:
        """List entries of the audit trail, newest first."""
        matching = Filter(action=action, actor=actor, target=target, since=moment(since), until=moment(until))
        found = await audit.newest(before=before, limit=limit, matching=matching)
        return AuditPage(
            entries=[AuditEntry(**entry.shown()) for entry in found],
            before=found[-1].seq if len(found) == limit else None,
        )


ADMIN_ROUTES = (AuditController, TenantsController, RolloutsController, CensusController)
