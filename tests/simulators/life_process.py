"""A real process that deletes or restores a tenant, on real files, and kills itself at a chosen step."""

import asyncio
import dataclasses
import functools
import os
import signal
from pathlib import Path
from typing import Any

from tests.support.house import opened

from freehold.tenants.lifecycle import Lifecycle

DELETE_STEPS = (
    "before delete", "after delete", "after claim", "before provider.delete", "after provider.delete",
    "after provider.find", "before done", "after done",
)  # fmt: skip
RESTORE_STEPS = (
    "before reserve", "after reserve", "before provider.create_empty", "after provider.create_empty",
    "before rows", "before replace", "after replace", "after claim", "before provider.delete",
    "after provider.delete", "before done", "after done",
)  # fmt: skip


class Doomed:
    """Any of our parts; the process ends right before or after a call of the chosen one."""

    def __init__(self, part: Any, step: str, prefix: str = "") -> None:
        self._part = part
        self._step = step
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        @functools.wraps(found)
        async def call(*args: Any, **kwargs: Any) -> Any:
            self._reach("before", name)
            answer = await found(*args, **kwargs)
            self._reach("after", name)
            return answer

        return call

    def _reach(self, when: str, name: str) -> None:
        if self._step == f"{when} {self._prefix}{name}":
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def doomed_life(life: Lifecycle, step: str) -> Lifecycle:
    """The same, but for the step at which it dies."""
    provider: Any = Doomed(life.provider, step, "provider.")
    store: Any = Doomed(life.store, step)
    pending_operations: Any = Doomed(life.operations_worker.pending_operations, step)
    operations_worker = dataclasses.replace(
        life.operations_worker, pending_operations=pending_operations, provider=provider
    )
    return dataclasses.replace(life, store=store, provider=provider, operations_worker=operations_worker)


def live_until_killed(folder: str, what: str, tenant_id: str, file: str, step: str) -> None:
    """What the process does: the same as the command, until its step comes up."""

    async def main() -> None:
        async with opened(Path(folder)) as house:
            life = doomed_life(house.services.lifecycle, step)
            if what == "delete":
                await life.delete(tenant_id)
                return
            if what == "create":
                await life.create(tenant_id)
                return

            def on_rows(_rows: int) -> None:
                if step.endswith("rows"):
                    die()

            await life.restore(tenant_id, Path(file), on_rows=on_rows)

    asyncio.run(main())
