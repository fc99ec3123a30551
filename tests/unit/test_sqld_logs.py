"""Which logs are looked at and folded when sqld does not answer about one of them."""

from typing import Any

import pytest

from freehold.errors import ProviderUnavailable
from freehold.providers.sqld.client.admin import NamespaceStats
from freehold.providers.sqld.turns.logs import Logs
from freehold.providers.sqld.turns.turns import Turns
from freehold.tenants.errors import DatabaseDamaged

PAGES = 5000  # 20 MB


class Admin:
    """Counts pages as sqld does, and fails for those that it is told to."""

    def __init__(self) -> None:
        self.pages: dict[str, int] = {}
        self.faults: dict[str, Exception] = {}
        self.folded: list[str] = []
        self.opened: dict[str, int] = {}  # times since the last checkpoint

    async def stats(self, name: str) -> NamespaceStats:
        self._fail(name)
        self.opened[name] = self.opened.get(name, 0) + 1
        return NamespaceStats(replication_index=self.pages.get(name, 0))

    async def checkpoint(self, name: str) -> None:
        self._fail(name)
        assert self.opened.pop(name, 0) >= 5, "sqld may not have it open, and would then deny it"
        self.folded.append(name)

    def _fail(self, name: str) -> None:
        if name in self.faults:
            raise self.faults[name]


class Namespaces:
    def open_in(self, _name: str) -> tuple[list[str], list[str]]:
        return [], []


@pytest.fixture
def admin() -> Admin:
    return Admin()


@pytest.fixture
def turns() -> Turns:
    return Turns(2, 5.0, wake=lambda: None)


@pytest.fixture
def logs(admin: Admin, turns: Turns) -> Logs:
    made: Any = Logs(admin, Namespaces(), turns, 100_000_000)  # type: ignore[arg-type]
    assert isinstance(made, Logs)
    return made


async def writes(logs: Logs, turns: Turns, admin: Admin, *names: str) -> None:
    """Each of these writes more than is left alone, and is looked at."""
    for name in names:
        admin.pages[name] = admin.pages.get(name, 0) + PAGES
        share = turns.close(name)
        turns.reopen(share)
        share.unlooked_s = 1.0
        turns.unlooked[share] = None
    await logs.look()


async def test_a_database_without_an_answer_is_looked_at_again_and_keeps_no_other_waiting(
    logs: Logs, turns: Turns, admin: Admin
) -> None:
    await writes(logs, turns, admin, "one", "two", "three")
    admin.folded.clear()
    admin.faults["two"] = ProviderUnavailable("not now")
    with pytest.raises(ProviderUnavailable):
        await writes(logs, turns, admin, "one", "two", "three")
    assert logs.is_needed
    with pytest.raises(ProviderUnavailable):
        await logs.look()
    assert sorted(admin.folded) == ["one", "three"]
    del admin.faults["two"]
    await logs.look()
    assert sorted(admin.folded) == ["one", "three", "two"]
    assert not logs.is_needed


async def test_a_database_that_never_wrote_much_is_left_alone(logs: Logs, turns: Turns, admin: Admin) -> None:
    """Its log cannot be long, and a checkpoint of a database that sqld has just closed shuts everybody out of it."""
    for _ in range(3):
        admin.pages["small"] = admin.pages.get("small", 0) - PAGES + 1000
        await writes(logs, turns, admin, "small")
    assert admin.folded == []
    await writes(logs, turns, admin, "small")
    assert admin.folded == ["small"]


async def test_a_damaged_database_is_passed_over(logs: Logs, turns: Turns, admin: Admin) -> None:
    await writes(logs, turns, admin, "one", "two", "three")
    admin.folded.clear()
    admin.faults["one"] = DatabaseDamaged("it is cut off", "wallog")
    await writes(logs, turns, admin, "one", "two", "three")
    assert admin.folded == ["two", "three"]
    assert not logs.is_needed


async def test_a_database_that_cannot_be_folded_is_tried_after_the_others(
    logs: Logs, turns: Turns, admin: Admin
) -> None:
    await writes(logs, turns, admin, "one", "two")
    admin.folded.clear()
    fold = admin.checkpoint

    async def checkpoint(name: str) -> None:
        if name == "one":
            raise ProviderUnavailable("not now")
        await fold(name)

    admin.checkpoint = checkpoint  # type: ignore[method-assign]
    with pytest.raises(ProviderUnavailable):
        await writes(logs, turns, admin, "one", "two")
    with pytest.raises(ProviderUnavailable):
        await logs.look()
    assert admin.folded == ["two"]
    admin.checkpoint = fold  # type: ignore[method-assign]
    await logs.look()
    assert admin.folded == ["two", "one"]
