"""A real process that takes a tenant back to before a rollout, on real files, and kills itself at a chosen step."""

import asyncio
import dataclasses
from typing import Any

from testbed.servers import ROOT
from tests.simulators.life_process import Doomed

from freehold.settings.load import load_settings
from freehold.wiring.services import open_services

STEPS = (
    "before provider.fork", "after provider.fork", "after provider.invalidate_tokens", "before put_back",
    "after put_back",
)  # fmt: skip


def restore_until_killed(folder: str, tenant_id: str, step: str) -> None:
    """What the process does: the same as the command, until its step comes up."""

    async def main() -> None:
        variables = {"DATA_DIR": folder, "SCHEMA_REGISTRY": str(ROOT / "schema_registry/bahar")}
        async with open_services(load_settings(variables)) as services:
            found = services.rollouts.restoring
            provider: Any = Doomed(found.provider, step, "provider.")
            points: Any = Doomed(found.points, step)
            restoring = dataclasses.replace(found, provider=provider, points=points)
            made = await restoring.rollout(None)
            async for _ in restoring.restore(made, restoring.of(made, [tenant_id])):
                pass

    asyncio.run(main())
