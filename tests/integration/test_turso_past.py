"""The `turso` provider going back in time, on the twin with a past in front of it."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from testbed.twin import ORGANIZATION, TOKEN, Twin, running_twin

from freehold.errors import NotFound, ProviderUnavailable
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.providers.turso.provider import TursoProvider
from freehold.tenants.errors import NoPointInTime
from tests.simulators.turso_past import PlatformWithPast, past_of

AT = datetime(2026, 1, 31, 12, 20, 30, 999_999, tzinfo=timezone(timedelta(hours=2)))
STAMP = "2026-01-31T10:20:30Z"


@pytest.fixture(scope="module")
def running() -> Iterator[Twin]:
    with running_twin() as found:
        yield found


@pytest.fixture
async def platform(running: Twin) -> AsyncIterator[PlatformWithPast]:
    async with past_of(running) as found:
        yield found
    running.clear()


@pytest.fixture
async def provider(platform: PlatformWithPast) -> AsyncIterator[TursoProvider]:
    made = TursoProvider(platform.url, TOKEN, ORGANIZATION, "default")
    yield made
    await made.aclose()


async def run(provider: TursoProvider, name: str, sql: str) -> int:
    """How many rows it gives."""
    target = await provider.open(name)
    (result,) = await target.run([Batch(steps=(BatchStep(stmt=Stmt(sql=sql)),))])
    assert result.step_errors == [None]
    (answer,) = result.step_results
    assert answer is not None
    return len(answer.rows)


async def put_aside(platform: PlatformWithPast, provider: TursoProvider) -> None:
    """One row then, two now."""
    await provider.create("t-1")
    await run(provider, "t-1", "create table t as select 1")
    await provider.fork("t-1", "kept")
    platform.kept[STAMP] = "kept"
    await run(provider, "t-1", "insert into t values (2)")


async def test_the_moment_is_sent_in_utc_and_never_later_than_asked(
    platform: PlatformWithPast, provider: TursoProvider
) -> None:
    await put_aside(platform, provider)
    made = await provider.fork_at("t-1", "t-2", AT)
    assert platform.seeds[-1] == {"type": "database", "name": "t-1", "timestamp": STAMP}
    assert made == await provider.find("t-2")
    assert await run(provider, "t-2", "select * from t") == 1
    assert await run(provider, "t-1", "select * from t") == 2


async def test_a_fork_as_of_now_names_no_moment(platform: PlatformWithPast, provider: TursoProvider) -> None:
    await provider.create("t-1")
    await provider.fork("t-1", "t-2")
    assert platform.seeds == [{"type": "database", "name": "t-1"}]


async def test_a_moment_that_is_refused_leaves_nothing_and_says_why(
    platform: PlatformWithPast, provider: TursoProvider
) -> None:
    await put_aside(platform, provider)
    with pytest.raises(NoPointInTime, match=r"`t-1` as of 2001-01-01T00:00:00Z: point-in-time restore is not"):
        await provider.fork_at("t-1", "t-2", datetime(2001, 1, 1, tzinfo=UTC))
    assert await provider.find("t-2") is None


async def test_what_is_not_about_the_moment_is_not_blamed_on_it(
    platform: PlatformWithPast, provider: TursoProvider
) -> None:
    await put_aside(platform, provider)
    with pytest.raises(NotFound):
        await provider.fork_at("missing", "t-2", AT)
    elsewhere = TursoProvider(platform.url, TOKEN, ORGANIZATION, "no-such-group")
    try:
        with pytest.raises(ProviderUnavailable, match="TURSO_GROUP"):
            await elsewhere.fork_at("t-1", "t-2", AT)
    finally:
        await elsewhere.aclose()


async def test_an_answer_that_is_lost_still_makes_one_copy_of_then(
    running: Twin, platform: PlatformWithPast, provider: TursoProvider
) -> None:
    await put_aside(platform, provider)
    running.fault({"kind": "error_after", "times": 1, "method": "POST", "path": "*/databases"})
    made = await provider.fork_at("t-1", "t-2", AT)
    assert [each.get("timestamp") for each in platform.seeds[1:]] == [STAMP, STAMP]
    assert made == await provider.find("t-2")
    assert await run(provider, "t-2", "select * from t") == 1
