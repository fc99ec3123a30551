"""The provisioner against a provider and a central database that fail, in simulated time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from freehold.errors import CentralUnavailable, ProviderUnavailable
from freehold.tenants.provisioner import Outcome, Provisioner
from freehold.tenants.types import TenantState
from freehold.tenants.worker import WorkerConfig
from tests.simulators.tenants import MemoryTenants, SimulatedClock, SimulatedProvider, settle


class Provisioners:
    """One central database and one provider, and as many provisioners as a test likes."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.store = MemoryTenants(published=3)
        self.provider = SimulatedProvider(self.clock, self.store)

    def provisioner(self, **pace: float) -> Provisioner:
        return self.with_chance(lambda: 0.5, **pace)

    def with_chance(self, chance: Callable[[], float], **pace: float) -> Provisioner:
        values = {"shutdown_limit_s": 0.0, **pace}
        return Provisioner(
            self.store,
            self.provider,
            self.provider.bring_up_to_date,
            config=WorkerConfig(**values),  # type: ignore[arg-type]
            clock=self.clock,
            random=chance,
        )

    @asynccontextmanager
    async def running(self, **pace: float) -> AsyncIterator[Provisioner]:
        provisioner = self.provisioner(**pace)
        task = asyncio.create_task(provisioner.run())
        await settle()
        try:
            yield provisioner
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def add(self, *tenant_ids: str) -> None:
        for tenant_id in tenant_ids:
            self.store.add(tenant_id, due_at_ms=self.clock.ms)


@pytest.fixture
def world() -> Provisioners:
    return Provisioners()


async def test_a_wake_up_provisions_at_once_without_waiting_for_the_next_look(world: Provisioners) -> None:
    async with world.running() as provisioner:
        world.add("a")
        provisioner.wake()
        await settle()
        tenant = world.store.get("a")
    assert (tenant.state, tenant.schema_version, tenant.error) == (TenantState.READY, 3, None)


async def test_a_wake_up_before_the_start_and_from_another_thread_counts(world: Provisioners) -> None:
    provisioner = world.provisioner()
    provisioner.wake()
    task = asyncio.create_task(provisioner.run())
    await settle()
    world.add("a")
    await asyncio.to_thread(provisioner.wake)
    await settle()
    assert world.store.get("a").state is TenantState.READY
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    provisioner.wake()  # when nobody works any more it must not fail


async def test_a_tenant_made_by_another_process_is_found_within_a_second(world: Provisioners) -> None:
    async with world.running():
        world.add("a")
        await world.clock.advance(1.1)
        assert world.store.get("a").state is TenantState.READY


async def test_a_tenant_that_waits_for_its_next_try_does_not_hide_new_ones(world: Provisioners) -> None:
    world.store.add("waiting", due_at_ms=world.clock.ms + 600_000)
    async with world.running():
        world.add("a")
        await world.clock.advance(1.1)
        assert world.store.get("a").state is TenantState.READY


async def test_an_idle_provisioner_asks_about_once_a_second_and_claims_nothing(world: Provisioners) -> None:
    async with world.running():
        await world.clock.advance(60)
    assert 55 <= world.store.calls["next_due_ms"] <= 65
    assert world.store.calls["claim_due"] == 0


async def test_only_a_few_are_in_work_at_once_and_all_are_done(world: Provisioners) -> None:
    world.add(*(f"t{number:03}" for number in range(50)))
    world.provider.took_s = 0.1
    async with world.running(concurrency=4):
        await world.clock.advance(2)
    assert world.store.states() == {"ready": 50}
    assert world.provider.most_at_once == 4
    assert set(world.provider.created.values()) == {1}


async def test_a_provider_that_fails_and_recovers_costs_a_visible_error_and_no_tenant(world: Provisioners) -> None:
    world.provider.is_down = True
    world.add(*(f"t{number}" for number in range(20)))
    async with world.running():
        await world.clock.advance(300)
        failed = [row.tenant for row in world.store.rows.values() if row.tenant.state is TenantState.FAILED]
        # Only those that were in work at the time: nobody else is tried while nothing can be made.
        assert 1 <= len(failed) <= 4
        assert all(tenant.error == "the disk does not answer" for tenant in failed)
        assert sum(world.provider.created.values()) <= 4
        assert world.provider.checks <= 70
        world.provider.is_down = False
        await world.clock.advance(11)
    assert world.store.states() == {"ready": 20}
    assert {row.tenant.attempts for row in world.store.rows.values()} == {0}
    assert {row.tenant.error for row in world.store.rows.values()} == {None}


async def test_sign_ups_during_an_outage_do_not_make_it_spin(world: Provisioners) -> None:
    world.provider.is_down = True
    world.add("first")
    async with world.running() as provisioner:
        await world.clock.advance(5)
        checks = world.provider.checks
        for number in range(100):
            world.add(f"t{number}")
            provisioner.wake()
            await settle()
        assert world.provider.checks <= checks + 1


async def test_one_failing_tenant_is_tried_less_and_less_and_holds_up_nobody(world: Provisioners) -> None:
    world.provider.broken = {"db-bad"}
    world.add("bad")
    async with world.running() as provisioner:
        await world.clock.advance(3600)
        assert world.store.get("bad").state is TenantState.FAILED
        # Half of at most 60 s each, on average: about two tries a minute.
        assert 60 <= world.provider.created["db-bad"] <= 140
        world.add("good")
        provisioner.wake()
        await settle()
        assert world.store.get("good").state is TenantState.READY
        world.provider.broken = set()
        await world.clock.advance(61)
        assert world.store.get("bad").state is TenantState.READY


async def test_a_migration_that_fails_here_is_retried_slowly_and_blocks_nobody(world: Provisioners) -> None:
    world.provider.poisoned = {"db-bad"}
    world.add("bad", "good")
    async with world.running():
        await world.clock.advance(3600)
        assert world.store.get("good").state is TenantState.READY
        bad = world.store.get("bad")
        assert bad.state is TenantState.FAILED
        assert bad.error == "migration 1 (create_words), statement 2: no such table: word"
        assert 10 <= bad.attempts <= 25
        assert world.provider.checks == 0  # the provider is not to blame
        world.provider.poisoned = set()
        await world.clock.advance(601)
        assert world.store.get("bad").state is TenantState.READY


async def test_an_unexpected_error_is_logged_whole_but_its_text_stays_out_of_the_row(world: Provisioners) -> None:
    world.provider.buggy = {"db-bad"}
    world.add("bad", "good")
    with capture_logs() as lines:
        async with world.running():
            await world.clock.advance(1)
    assert world.store.get("good").state is TenantState.READY
    assert world.store.get("bad").error == "unexpected ZeroDivisionError; the log has it whole"
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["tenant.provisioning_failed"]


async def test_a_provider_that_hangs_is_given_up_and_keeps_only_one_place(world: Provisioners) -> None:
    world.provider.hanging = {"db-bad"}
    world.add("bad", *(f"t{number}" for number in range(20)))
    async with world.running(limit_s=30):
        await world.clock.advance(1)
        assert world.store.states()["ready"] == 20
        await world.clock.advance(60)
        assert world.store.get("bad").error == "it took too long"


async def test_a_long_lasting_tenant_keeps_its_lease_against_a_second_process(world: Provisioners) -> None:
    world.provider.took_s = 60
    world.add("slow")
    async with world.running(lease_s=10), world.running(lease_s=10):
        await world.clock.advance(61)
    assert world.store.get("slow").state is TenantState.READY
    assert world.provider.created["db-slow"] == 1


async def test_a_killed_process_is_replaced_when_its_lease_is_over(world: Provisioners) -> None:
    world.add("a")
    await world.store.claim_due("simulated", due_by_ms=world.clock.ms, lease_until_ms=world.clock.ms + 10_000, limit=1)
    async with world.running():
        await world.clock.advance(9.5)
        assert world.store.get("a").state is TenantState.PROVISIONING
        await world.clock.advance(1)
        assert world.store.get("a").state is TenantState.READY


async def test_a_stopped_provisioner_gives_back_what_it_has_in_work(world: Provisioners) -> None:
    world.provider.hanging = {"db-a"}
    world.add("a")
    async with world.running():
        assert world.store.rows["a"].due_at_ms == world.clock.ms + 10_000
    assert world.store.rows["a"].due_at_ms == world.clock.ms
    assert world.store.get("a").attempts == 0
    assert world.provider.at_once == 0


async def test_a_stopped_provisioner_lets_what_is_nearly_done_end(world: Provisioners) -> None:
    world.provider.took_s = 5
    world.add("a")
    provisioner = world.provisioner(shutdown_limit_s=5.0)
    task = asyncio.create_task(provisioner.run())
    await settle()
    task.cancel()
    await settle()
    assert not task.done()
    await world.clock.advance(6)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert world.store.get("a").state is TenantState.READY


async def test_it_outlives_the_central_database_being_away(world: Provisioners) -> None:
    with capture_logs() as lines:
        async with world.running() as provisioner:
            world.store.is_away = True
            await world.clock.advance(600)
            calls = world.store.calls["next_due_ms"]
            world.store.is_away = False
            world.add("a")
            provisioner.wake()
            await world.clock.advance(11)
            assert world.store.get("a").state is TenantState.READY
    assert calls < 150
    paused = [line for line in lines if line["event"] == "provisioner.paused"]
    assert 1 <= len(paused) <= 8
    assert paused[0]["code"] == "central_unavailable"
    assert [line["event"] for line in lines if "resumed" in line["event"]] == ["provisioner.resumed"]


async def test_the_central_database_going_away_in_mid_work_is_not_held_against_the_tenant(world: Provisioners) -> None:
    world.provider.took_s = 1
    world.add("a")
    async with world.running():
        world.store.is_away = True
        await world.clock.advance(30)
        world.store.is_away = False
        await world.clock.advance(30)
    tenant = world.store.get("a")
    assert (tenant.state, tenant.attempts, tenant.error) == (TenantState.READY, 0, None)


async def test_a_success_that_cannot_be_recorded_is_no_failure_of_the_tenant(world: Provisioners) -> None:
    world.store.away_for = {"mark_ready"}
    world.add("a")
    async with world.running():
        await world.clock.advance(1)
        tenant = world.store.get("a")
        assert (tenant.state, tenant.attempts) == (TenantState.PROVISIONING, 0)
        world.store.away_for = set()
        await world.clock.advance(11)
        assert world.store.get("a").state is TenantState.READY


async def test_a_lease_lost_while_central_was_away_is_taken_up_by_the_same_work(world: Provisioners) -> None:
    world.provider.took_s = 50
    world.add("a")
    async with world.running(lease_s=10):
        world.store.is_away = True
        await world.clock.advance(20)
        world.store.is_away = False
        await world.clock.advance(40)
    assert world.store.get("a").state is TenantState.READY
    assert world.provider.created["db-a"] == 1


async def test_a_migration_published_meanwhile_is_applied_before_it_is_ready(world: Provisioners) -> None:
    world.add("a")
    bring, published = world.provider.bring_up_to_date, iter([4, 5])

    async def bring_and_publish(target: object) -> int:
        version = await bring(target)  # type: ignore[arg-type]
        world.store.published = next(published, world.store.published)
        return version

    provisioner = Provisioner(world.store, world.provider, bring_and_publish, clock=world.clock, random=lambda: 0.5)
    assert await provisioner.drain() == []
    assert world.store.get("a").schema_version == 5


async def test_a_registry_whose_end_is_never_reached_is_a_failure_and_no_endless_loop(world: Provisioners) -> None:
    world.add("a")

    async def stay(_target: object) -> int:
        return 2

    provisioner = Provisioner(world.store, world.provider, stay, clock=world.clock, random=lambda: 0.5)
    failed = await provisioner.drain()
    assert [outcome.tenant.tenant_id for outcome in failed] == ["a"]
    assert "newer migrations than 2" in (world.store.get("a").error or "")


async def test_a_tenant_deleted_while_in_work_stays_deleted(world: Provisioners) -> None:
    world.provider.took_s = 1
    world.add("a")
    async with world.running():
        world.store.change("a", state=TenantState.DELETING)
        await world.clock.advance(20)
    assert world.store.get("a").state is TenantState.DELETING


async def test_a_late_failure_of_one_process_does_not_undo_the_success_of_another(world: Provisioners) -> None:
    world.add("a")
    claim = (
        await world.store.claim_due("simulated", due_by_ms=world.clock.ms, lease_until_ms=world.clock.ms + 1, limit=1)
    )[0]
    await world.clock.advance(1)
    await world.provisioner().drain()
    assert not await world.store.mark_failed(claim, "late", world.clock.ms)
    assert world.store.get("a").state is TenantState.READY


async def test_tenants_of_another_provider_are_left_alone(world: Provisioners) -> None:
    world.store.add("theirs", due_at_ms=world.clock.ms, provider="turso")
    world.add("ours")
    async with world.running():
        await world.clock.advance(30)
    assert world.store.get("theirs").state is TenantState.PROVISIONING
    assert world.provider.created.keys() == {"db-ours"}
    assert world.store.calls["claim_due"] == 1


async def test_a_failure_in_a_row_is_logged_ever_more_rarely(world: Provisioners) -> None:
    world.provider.broken = {"db-bad"}
    world.add("bad")
    with capture_logs() as lines:
        async with world.running():
            await world.clock.advance(3600)
    told = [line["attempts"] for line in lines if line["event"] == "tenant.provisioning_failed"]
    assert told[:4] == [1, 2, 4, 8]
    assert len(told) <= 8


async def test_drain_tries_each_once_and_says_which_failed(world: Provisioners) -> None:
    world.provider.poisoned = {"db-t3"}
    world.add(*(f"t{number}" for number in range(10)))
    heard: list[Outcome] = []
    failed = await world.with_chance(lambda: 0.0).drain(heard.append)
    assert [outcome.tenant.tenant_id for outcome in failed] == ["t3"]
    assert len(heard) == 10
    assert world.store.states() == {"ready": 9, "failed": 1}
    assert world.provider.created["db-t3"] == 1


async def test_drain_stops_when_the_provider_is_down(world: Provisioners) -> None:
    world.provider.is_down = True
    world.add(*(f"t{number}" for number in range(50)))
    with pytest.raises(ProviderUnavailable):
        await world.provisioner().drain()
    assert sum(world.provider.created.values()) <= 8


async def test_drain_tells_when_the_central_database_is_away(world: Provisioners) -> None:
    world.store.is_away = True
    with pytest.raises(CentralUnavailable):
        await world.provisioner().drain()


async def test_two_drains_at_once_share_the_work(world: Provisioners) -> None:
    world.add(*(f"t{number}" for number in range(30)))
    failed = await asyncio.gather(world.provisioner().drain(), world.provisioner().drain())
    assert not any(failed)
    assert world.store.states() == {"ready": 30}
    assert set(world.provider.created.values()) == {1}
