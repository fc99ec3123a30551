"""What a user is handed, in each state of their database."""

import pytest

from freehold.errors import FreeholdError, NotFound, ProviderUnavailable
from freehold.tenants.errors import DatabaseDeleted, DatabaseDeleting, DatabaseSuspended
from freehold.tenants.listing import TenantListing
from freehold.tenants.service import Tenants
from freehold.tenants.types import DatabaseToken, PendingDatabase, ReadyDatabase, TenantState
from tests.simulators.tenants import MemoryTenants, SimulatedClock, SimulatedProvider


class TenantsInMemory:
    def __init__(self) -> None:
        self.store = MemoryTenants()
        self.provider = SimulatedProvider(SimulatedClock(), self.store)
        self.slept_s: list[float] = []
        self.ready_after_s = 1000.0
        self.tenants = Tenants(self.store, self.provider, self.sleep)
        self.listing = TenantListing(self.store)

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        if sum(self.slept_s) >= self.ready_after_s:
            self.store.change("a", state=TenantState.READY)

    async def add(self, tenant_id: str, state: TenantState = TenantState.READY) -> None:
        self.store.add(tenant_id)
        self.store.change(tenant_id, state=state, schema_version=3)
        await self.provider.create(f"db-{tenant_id}")


@pytest.fixture
def world() -> TenantsInMemory:
    return TenantsInMemory()


async def test_a_ready_database_comes_with_a_token_for_this_session_and_no_other_database(
    world: TenantsInMemory,
) -> None:
    await world.add("a")
    await world.add("b")
    found = await world.tenants.database_of("user-a", "session-1", "read_only")
    assert isinstance(found, ReadyDatabase)
    assert found.database.name == "db-a"
    assert found.token.access_level == "read_only"
    assert found.token.text == "token-1-db-a-session-1"
    again = await world.tenants.database_of("user-a", "session-1")
    assert isinstance(again, ReadyDatabase)
    assert again.token.text != found.token.text
    assert again.token.access_level == "full"


async def test_a_token_does_not_show_when_printed(world: TenantsInMemory) -> None:
    await world.add("a")
    found = await world.tenants.database_of("user-a", "session-1")
    assert "token-1" not in repr(found)
    assert "token-1" not in f"{found!s}"


async def test_a_database_that_is_just_being_made_is_waited_for(world: TenantsInMemory) -> None:
    await world.add("a", TenantState.PROVISIONING)
    world.ready_after_s = 0.1
    assert isinstance(await world.tenants.database_of("user-a", "session-1"), ReadyDatabase)


async def test_the_wait_ends_well_before_the_client_loses_patience(world: TenantsInMemory) -> None:
    await world.add("a", TenantState.PROVISIONING)
    assert isinstance(await world.tenants.database_of("user-a", "session-1"), PendingDatabase)
    assert 0.2 < sum(world.slept_s) < 1
    world.slept_s.clear()
    world.store.change("a", state=TenantState.FAILED)
    await world.tenants.database_of("user-a", "session-1")
    assert world.slept_s == []  # what has failed is not there in a moment


@pytest.mark.parametrize("state", [TenantState.PROVISIONING, TenantState.FAILED])
async def test_a_database_that_is_not_there_yet_is_promised_for_soon(
    world: TenantsInMemory, state: TenantState
) -> None:
    await world.add("a", state)
    found = await world.tenants.database_of("user-a", "session-1")
    assert isinstance(found, PendingDatabase)
    assert 1 <= found.retry_after_s <= 10


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (TenantState.SUSPENDED, DatabaseSuspended),
        (TenantState.DELETING, DatabaseDeleting),
        (TenantState.DELETED, DatabaseDeleted),
    ],
)
async def test_a_database_out_of_use_is_refused_with_its_reason(
    world: TenantsInMemory, state: TenantState, kind: type[FreeholdError]
) -> None:
    await world.add("a", state)
    with pytest.raises(kind):
        await world.tenants.database_of("user-a", "session-1")


async def test_a_user_without_a_tenant_is_not_found(world: TenantsInMemory) -> None:
    with pytest.raises(NotFound):
        await world.tenants.database_of("nobody", "session-1")


async def test_a_ready_database_that_the_provider_has_lost_is_no_new_empty_one(world: TenantsInMemory) -> None:
    await world.add("a")
    await world.provider.delete("db-a")
    with pytest.raises(ProviderUnavailable):
        await world.tenants.database_of("user-a", "session-1")
    assert "db-a" not in world.provider.databases


async def test_what_the_provider_says_about_its_troubles_is_not_for_the_user(world: TenantsInMemory) -> None:
    await world.add("a")
    world.provider.trouble = ProviderUnavailable("cannot look for a database: /srv/secret/path")
    with pytest.raises(ProviderUnavailable) as raised:
        await world.tenants.database_of("user-a", "session-1")
    assert "/srv" not in str(raised.value)
    assert raised.value.__cause__ is world.provider.trouble


async def test_a_database_of_another_provider_is_not_looked_for_here(world: TenantsInMemory) -> None:
    await world.add("a")
    world.store.change("a", provider="turso")
    with pytest.raises(ProviderUnavailable):
        await world.tenants.database_of("user-a", "session-1")


@pytest.mark.parametrize("limit", [None, 1, 499, 500, 501, 1500, 9999])
async def test_all_tenants_are_listed_page_by_page_each_once_and_in_order(
    world: TenantsInMemory, limit: int | None
) -> None:
    names = [f"t{number:05}" for number in range(1500)]
    for name in names:
        world.store.add(name)
    listed = [tenant.tenant_id async for tenant in world.listing.each(limit=limit)]
    assert listed == names[:limit]
    rest = [tenant.tenant_id async for tenant in world.listing.each(after=listed[-1])]
    assert listed + rest == names


async def test_users_without_a_tenant_get_one_each(world: TenantsInMemory) -> None:
    world.store.missing = [f"u{number}" for number in range(1200)]
    assert await world.tenants.add_missing() == 1200
    assert await world.tenants.add_missing() == 0
    assert world.store.states() == {"provisioning": 1200}


def test_a_token_prints_without_its_text() -> None:
    from datetime import UTC, datetime

    token = DatabaseToken(text="abc.def.ghi", profile="full", expires_at=datetime.now(UTC))
    assert "abc" not in repr(token)
    assert "abc" not in str(token)
