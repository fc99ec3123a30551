"""Pages of tenants at 100,000 of them, beside the first page of a handful: a page must cost what it holds."""

import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from sqlalchemy import insert

from bench.report import Finding, compare
from freehold.central.engine import Central, open_central
from freehold.central.tables import tenant
from freehold.central.tenants.rows import new_tenant_row
from freehold.central.tenants.store import CentralTenants
from freehold.central.upgrade import upgrade_central
from freehold.dates import utc_now
from freehold.tenants.types import TenantState

_MANY = 100_000
_FEW = 200
_ROUNDS = 30
_AT_LEAST = 1 / 4


async def run() -> AsyncIterator[Finding]:
    """Pages of 100: the first, one from the middle, and rare states, against the first of few tenants."""
    with tempfile.TemporaryDirectory(prefix="freehold-") as folder:
        few, many = (await _filled(Path(folder) / "few.db", _FEW), await _filled(Path(folder) / "many.db", _MANY))
        small, large = CentralTenants(few), CentralTenants(many)
        middle = (await large.page(after="m", limit=1))[0].tenant_id
        pages: dict[str, Callable[[], Awaitable[object]]] = {
            "first page of 100,000 tenants": lambda: large.page(limit=100),
            "a page in the middle": lambda: large.page(after=middle, limit=100),
            "the rare state, from the middle": lambda: large.page(after=middle, limit=100, state=TenantState.FAILED),
            "the common state, from the middle": lambda: large.page(after=middle, limit=100, state=TenantState.READY),
        }
        for name, page in pages.items():
            ours, floor = [], []
            for _ in range(_ROUNDS):
                floor.append(1 / await _seconds(lambda: small.page(limit=100)))
                ours.append(1 / await _seconds(page))
            yield compare(f"tenants: {name}", "/s", ours, floor, _AT_LEAST)
        await few.close()
        await many.close()


async def _filled(path: Path, count: int) -> Central:
    central = open_central(path)
    await upgrade_central(central)
    now = utc_now()
    for start in range(0, count, 5_000):
        rows = []
        for number in range(start, min(start + 5_000, count)):
            state = "failed" if number % 1_000 == 0 else "ready"
            rows.append({**new_tenant_row(f"user-{number}", "local", now), "state": state, "due_at_ms": None})
        async with central.write() as db:
            await db.execute(insert(tenant), rows)
    return central


async def _seconds(page: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await page()
    return time.perf_counter() - began
