"""The `turso` provider against the local twin, doing all that a remote API does wrong."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import jwt
import pytest
import structlog
from testbed.twin import ORGANIZATION, TOKEN, Twin, running_twin, turso_provider

from freehold.errors import Conflict, NotFound, ProviderUnavailable, Unauthenticated
from freehold.libsql.http import HranaTarget
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.providers.turso.api import PlatformApi
from freehold.providers.turso.provider import TursoProvider


@pytest.fixture(scope="module")
def running() -> Iterator[Twin]:
    with running_twin() as found:
        yield found


@pytest.fixture
def twin(running: Twin) -> Iterator[Twin]:
    yield running
    running.clear()


@pytest.fixture
async def provider(twin: Twin) -> AsyncIterator[TursoProvider]:
    made = turso_provider(twin)
    yield made
    await made.aclose()


def databases(twin: Twin) -> list[str]:
    return [each["Name"] for each in twin.call("GET", "databases").json()["databases"]]


async def run(provider: TursoProvider, name: str, sql: str) -> Any:
    target = await provider.open(name)
    (result,) = await target.run([Batch(steps=(BatchStep(stmt=Stmt(sql=sql)),))])
    assert result.step_errors == [None]
    return result.step_results[0]


def calls_left(twin: Twin, kind: str) -> int:
    faults = twin.call("GET", "/__faults").json()["faults"]
    return sum(each["times"] for each in faults if each["kind"] == kind)


@pytest.mark.parametrize(
    "faults",
    [
        [{"kind": "error_before", "times": 2}],
        [{"kind": "error_after", "times": 1}],
        [{"kind": "drop_before", "times": 2}],
        [{"kind": "drop_after", "times": 1}],
        [{"kind": "drop_after", "times": 1}, {"kind": "exists_as_400"}],
        [{"kind": "error_after", "times": 1}, {"kind": "exists_as_422"}],
        [{"kind": "not_json", "times": 2}],
        [{"kind": "rate_limit", "times": 2}],
        [{"kind": "latency", "seconds": 0.1}],
        [{"kind": "slow_ready", "seconds": 1.0}],
        [{"kind": "slow_ready", "seconds": 0.5}, {"kind": "drop_after", "times": 2}],
        [{"kind": "no_access_claim", "times": 1}],
        [{"kind": "expired_token", "times": 1}],
        [{"kind": "error_after", "probability": 0.3}, {"kind": "drop_after", "probability": 0.3}],
    ],
    ids=lambda faults: "+".join(each["kind"] for each in faults),
)
async def test_whatever_goes_wrong_one_database_is_made_and_works(
    twin: Twin, provider: TursoProvider, faults: list[dict[str, Any]]
) -> None:
    twin.fault(*faults, seed=1)
    made = await provider.create("t-1")
    await run(provider, "t-1", "create table t(a)")
    assert await provider.create("t-1") == made
    twin.fault_no_more()
    assert databases(twin) == ["t-1"]
    assert twin.call("GET", "databases/t-1").json()["database"]["DbId"] == made.db_id
    assert (await run(provider, "t-1", "select * from t")).rows == []


async def test_deleting_goes_on_until_it_is_gone(twin: Twin, provider: TursoProvider) -> None:
    for number, kind in enumerate(("error_before", "error_after", "drop_after", "not_json")):
        await provider.create(f"t-{number}")
        twin.fault({"kind": kind, "times": 1, "method": "DELETE"})
        await provider.delete(f"t-{number}")
        assert databases(twin) == []
        assert await provider.find(f"t-{number}") is None


async def test_a_protected_database_is_not_said_to_be_gone(twin: Twin, provider: TursoProvider) -> None:
    await provider.create("t-1")
    twin.call("PATCH", "databases/t-1/configuration", json={"delete_protection": True}).raise_for_status()
    with pytest.raises(ProviderUnavailable):
        await provider.delete("t-1")
    twin.call("PATCH", "databases/t-1/configuration", json={"delete_protection": False}).raise_for_status()


async def test_another_groups_database_is_not_taken_over(twin: Twin, provider: TursoProvider) -> None:
    twin.call("POST", "groups", json={"name": "other", "location": "aws-eu-west-1"}).raise_for_status()
    twin.call("POST", "databases", json={"name": "t-1", "group": "other"}).raise_for_status()
    with pytest.raises(Conflict, match="TURSO_GROUP"):
        await provider.create("t-1")
    assert [name async for page in provider.names() for name in page] == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"token": "wrong"}, "TURSO_API_TOKEN"),
        ({"organization": "strangers"}, "TURSO_ORGANIZATION"),
        ({"group": "nowhere"}, "nowhere"),
    ],
)
async def test_a_wrong_setting_is_named_and_nothing_secret_with_it(
    twin: Twin, options: dict[str, str], named: str
) -> None:
    found = {"token": TOKEN, "organization": ORGANIZATION, "group": "default", **options}
    provider = TursoProvider(twin.url, found["token"], found["organization"], found["group"], give_up_s=5)
    try:
        for call in (provider.check(), provider.create("t-1")):
            with pytest.raises(ProviderUnavailable, match=named) as caught:
                await call
            assert found["token"] not in str(caught.value)
    finally:
        await provider.aclose()


async def test_an_api_that_never_answers_is_given_up(twin: Twin) -> None:
    twin.fault({"kind": "drop_before"})
    provider = turso_provider(twin, give_up_s=0.5)
    try:
        started = time.monotonic()
        with pytest.raises(ProviderUnavailable):
            await provider.check()
        assert time.monotonic() - started < 20
        twin.fault_no_more()
        await provider.check()
    finally:
        await provider.aclose()


async def test_it_waits_as_long_as_it_is_asked_to(twin: Twin) -> None:
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    api = PlatformApi(twin.url, TOKEN, give_up_s=60, random=lambda: 0.5, sleep=nap)
    try:
        twin.fault({"kind": "rate_limit", "times": 1, "seconds": 7})
        assert (await api.call("GET", "/v1/locations")).is_done
        assert naps[0] >= 7
        twin.fault({"kind": "rate_limit", "times": 1, "seconds": 3600})
        with pytest.raises(ProviderUnavailable):
            await api.call("GET", "/v1/locations")
        with pytest.raises(ProviderUnavailable, match="not to be called"):  # and does not even ask again
            await api.call("GET", "/v1/locations")
    finally:
        await api.aclose()


async def test_fifty_who_want_a_token_cause_one_call(twin: Twin, provider: TursoProvider) -> None:
    database = await provider.create("t-1")
    twin.fault({"kind": "latency", "seconds": 0.2, "path": "*/auth/tokens", "times": 100})
    tokens = await asyncio.gather(
        *(provider.mint_token("t-1", "read_only", f"session:{number}") for number in range(50))
    )
    assert len({each.text for each in tokens}) == 1
    assert calls_left(twin, "latency") == 99
    claims = jwt.decode(tokens[0].text, options={"verify_signature": False})
    assert (claims["a"], claims["id"]) == ("ro", database.db_id)
    assert tokens[0].expires_at.timestamp() == claims["exp"]
    assert claims["exp"] - time.time() <= 900
    full = await provider.mint_token("t-1", "full", "session:1")
    assert full.text != tokens[0].text


async def test_the_setting_narrows_what_turso_mints_as_far_as_turso_can(twin: Twin) -> None:
    for most, (profile, claim) in {
        "none": ("none", "ro"),
        "read_only": ("read_only", "ro"),
        "rows": ("full", "rw"),  # Turso does not tell the two apart
        "full": ("full", "rw"),
    }.items():
        provider = turso_provider(twin, most=most)
        try:
            database = await provider.create("t-1")
            token = await provider.mint_token("t-1", "full", "test")
            assert (token.profile, jwt.decode(token.text, options={"verify_signature": False})["a"]) == (profile, claim)
            async with aiohttp.ClientSession() as http:
                target = HranaTarget(http, database.url, token.text)
                select = Batch((BatchStep(Stmt(sql="select 1")),))
                if profile == "none":
                    with pytest.raises((Unauthenticated, NotFound)):
                        await target.run([select])
                else:
                    assert (await target.run([select]))[0].step_errors == [None]
        finally:
            await provider.aclose()
            twin.clear()


async def test_one_who_leaves_does_not_take_the_token_from_the_others(twin: Twin, provider: TursoProvider) -> None:
    await provider.create("t-1")
    twin.fault({"kind": "latency", "seconds": 0.3, "path": "*/auth/tokens", "times": 1})
    first = asyncio.create_task(provider.mint_token("t-1", "read_only", "a"))
    second = asyncio.create_task(provider.mint_token("t-1", "read_only", "b"))
    await asyncio.sleep(0.1)
    first.cancel()
    assert (await second).text
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.parametrize("kind", ["no_access_claim", "expired_token"])
async def test_a_token_that_is_not_what_was_asked_for_is_never_handed_out(
    twin: Twin, provider: TursoProvider, kind: str
) -> None:
    await provider.create("t-1")
    twin.fault({"kind": kind})
    with structlog.testing.capture_logs() as lines, pytest.raises(ProviderUnavailable) as caught:
        await provider.mint_token("t-1", "read_only", "test")
    assert "eyJ" not in str(caught.value) + str(lines)
    assert lines


async def test_rotating_ends_every_token_of_one_database(twin: Twin, provider: TursoProvider) -> None:
    one, two = await provider.create("t-1"), await provider.create("t-2")
    before = await provider.mint_token("t-1", "full", "test")
    other = await provider.mint_token("t-2", "full", "test")
    twin.fault({"kind": "drop_after", "path": "*/auth/rotate", "times": 1})
    await provider.invalidate_tokens("t-1")
    assert twin.run(f"{one.hostname}/", before.text, "select 1")[0] == 401
    assert twin.run(f"{two.hostname}/", other.text, "select 1")[0] == 200
    after = await provider.mint_token("t-1", "full", "test")
    assert twin.run(f"{one.hostname}/", after.text, "select 1")[0] == 200
    with pytest.raises(NotFound):
        await provider.invalidate_tokens("t-3")


async def test_a_process_that_did_not_rotate_hands_out_no_dead_token(twin: Twin, provider: TursoProvider) -> None:
    database = await provider.create("t-1")
    before = await provider.mint_token("t-1", "full", "test", generation=0)
    twin.call("POST", "databases/t-1/auth/rotate").raise_for_status()
    assert (await provider.mint_token("t-1", "full", "test", generation=0)).text == before.text
    after = await provider.mint_token("t-1", "full", "test", generation=1)
    assert twin.run(f"{database.hostname}/", after.text, "select 1")[0] == 200
    twin.call("POST", "databases/t-1/auth/rotate").raise_for_status()
    await run(provider, "t-1", "select 1")  # migrations get a new one by themselves


async def test_where_a_database_is_costs_no_call_each_time(twin: Twin, provider: TursoProvider) -> None:
    made = await provider.create("t-1")
    twin.fault({"kind": "error_before"})
    for _ in range(3):
        assert await provider.locate("t-1") == made
        assert (await provider.mint_token("t-1", "full", "test")).text
