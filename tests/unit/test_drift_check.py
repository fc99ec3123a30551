"""What a check of databases makes of a provider that does not answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import ProviderUnavailable
from freehold.migrate.sqlite import SqliteTarget
from freehold.migrate.target import Target
from freehold.tenants.drift import DriftCheck
from freehold.tenants.types import Tenant, TenantState

TENANT = Tenant(
    tenant_id="one",
    user_id="one",
    database_name="t-1",
    provider="local",
    state=TenantState.READY,
    schema_version=0,
    error=None,
    attempts=0,
    created_at="",
    updated_at="",
)


class Provider:
    """Does not answer the first times."""

    def __init__(self, target: Target, silent: int) -> None:
        self.target = target
        self.silent = silent

    async def open(self, _name: str) -> Target:
        self.silent -= 1
        if self.silent >= 0:
            raise ProviderUnavailable("its engine has ended")
        return self.target


@pytest.mark.parametrize(("silent", "verdict"), [(0, "same"), (2, "same"), (3, "unreadable")])
async def test_a_database_is_read_again_before_it_counts_as_unreadable(
    tmp_path: Path, silent: int, verdict: str
) -> None:
    async def nothing() -> tuple[()]:
        return ()

    @asynccontextmanager
    async def scratch() -> AsyncIterator[Target]:
        yield SqliteTarget(tmp_path / "scratch.db")

    provider: Any = Provider(SqliteTarget(tmp_path / "one.db"), silent)
    assert (await DriftCheck(provider, nothing, scratch, (0.0, 0.0)).one(TENANT)).verdict == verdict
