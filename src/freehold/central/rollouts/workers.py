"""The workers that run rollouts. Implements `rollouts.ports.WorkerStore`."""

from dataclasses import dataclass

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.dialects.sqlite import insert

from freehold.central.engine import Central
from freehold.central.tables import rollout_worker


@dataclass(frozen=True, slots=True)
class CentralWorkers:
    """One row per worker; a killed worker counts until its time is over."""

    central: Central

    async def is_at_work(self, rollout_id: str, worker_id: str, until_ms: int) -> None:
        row = {"id": worker_id, "rollout_id": rollout_id, "until_ms": until_ms}
        telling = insert(rollout_worker).values(**row)
        telling = telling.on_conflict_do_update(index_elements=["id"], set_={"until_ms": until_ms})
        await self.central.change(telling)

    async def has_left(self, worker_id: str, now_ms: int) -> None:
        gone = or_(rollout_worker.c.id == worker_id, rollout_worker.c.until_ms < now_ms)
        await self.central.change(delete(rollout_worker).where(gone))

    async def count(self, rollout_id: str, now_ms: int) -> int:
        alive = and_(rollout_worker.c.rollout_id == rollout_id, rollout_worker.c.until_ms > now_ms)
        return int((await self.central.fetch(select(func.count()).where(alive))).scalar_one())
