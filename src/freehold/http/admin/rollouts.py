"""Rollouts for administrators: how they stand, and steering. `freehold rollout` starts them and carries them out."""

from typing import Annotated

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, SkipValidation
from litestar.status_codes import HTTP_200_OK

from freehold.errors import Conflict, NotFound
from freehold.http.guards import require_admin
from freehold.http.route_facts import facts
from freehold.rollouts.types import Progress, Rollout
from freehold.wiring.services import Services

_ADMIN = [require_admin]
# Made by us, and partly of types that no message could have: there is nothing to validate.
Made = SkipValidation[Services]
Limit = Annotated[int, QueryParameter(ge=1, le=100, description="At most so many.")]


class RolloutsController(Controller):
    """Needs the role `admin`."""

    path = "/admin/rollouts"
    tags = ("admin",)

    @get(operation_id="list_rollouts", guards=_ADMIN)
    async def list_rollouts(self, services: NamedDependency[Made], limit: Limit = 20) -> list[Rollout]:
        """The newest rollouts, newest first."""
        return list(await services.rollouts.store.newest(limit))

    @get("/{rollout_id:str}", operation_id="show_rollout", opt=facts(NotFound), guards=_ADMIN)
    async def show(self, services: NamedDependency[Made], rollout_id: FromPath[str]) -> Progress:
        """How far a rollout is, with failures grouped by cause."""
        return await services.rollouts.progress(rollout_id)

    @post(
        "/{rollout_id:str}/pause",
        operation_id="pause_rollout",
        opt=facts(NotFound, Conflict),
        status_code=HTTP_200_OK,
        guards=_ADMIN,
    )
    async def pause(self, services: NamedDependency[Made], rollout_id: FromPath[str]) -> Rollout:
        """Have it take on no more tenants; those at work end."""
        return await services.rollouts.pause(rollout_id, "paused by an administrator")

    @post(
        "/{rollout_id:str}/resume",
        operation_id="resume_rollout",
        opt=facts(NotFound, Conflict),
        status_code=HTTP_200_OK,
        guards=_ADMIN,
    )
    async def resume(self, services: NamedDependency[Made], rollout_id: FromPath[str]) -> Rollout:
        """Let it run again; a `freehold rollout work` carries it out."""
        return await services.rollouts.resume(rollout_id)

    @post(
        "/{rollout_id:str}/abort",
        operation_id="abort_rollout",
        opt=facts(NotFound, Conflict),
        status_code=HTTP_200_OK,
        guards=_ADMIN,
    )
    async def abort(self, services: NamedDependency[Made], rollout_id: FromPath[str]) -> Rollout:
        """End it where it is."""
        return await services.rollouts.abort(rollout_id, "aborted by an administrator")
