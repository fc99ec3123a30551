"""`GET /admin/audit`: who did what, for administrators."""

from typing import Annotated, Any

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct

from freehold.audit.service import Audit
from freehold.audit.types import Filter, moment
from freehold.http.guards import require_admin

_MAX_PAGE = 500

Before = Annotated[int | None, QueryParameter(ge=1, description="Only entries older than this one.")]
Limit = Annotated[int, QueryParameter(ge=1, le=_MAX_PAGE, description="At most so many.")]
Action = Annotated[str | None, QueryParameter(description="Only this action, e.g. `user.signed_in`.")]
Actor = Annotated[str | None, QueryParameter(description="Only what this one did, e.g. `user:ID`.")]
Target = Annotated[str | None, QueryParameter(description="Only what was done to this, e.g. `tenant:ID`.")]
Since = Annotated[str | None, QueryParameter(description="From this UTC moment on, `2026-01-31T10:20:30Z`.")]
Until = Annotated[str | None, QueryParameter(description="Before this UTC moment.")]


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
    """Newest first. `before` is what to ask for next, null after the last page."""

    entries: list[AuditEntry]
    before: int | None


class AuditController(Controller):
    """Reading only: entries come from what is done, and nothing takes them away."""

    path = "/admin/audit"
    tags = ("admin",)

    @get(operation_id="list_audit", guards=[require_admin])
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
        """Entries of the audit trail, newest first."""
        matching = Filter(action=action, actor=actor, target=target, since=moment(since), until=moment(until))
        found = await audit.newest(before=before, limit=limit, matching=matching)
        return AuditPage(
            entries=[AuditEntry(**entry.shown()) for entry in found],
            before=found[-1].seq if len(found) == limit else None,
        )
