"""`tenants sql`: an operator's SQL passes the walls of a user's, is recorded, and the schema is looked at again."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from testbed.sqld import Sqld

from freehold.errors import FreeholdError, InvalidInput
from freehold.libsql.values import decode
from freehold.tenants.lifecycle import WrongState
from freehold.tenants.operator_sql import Ran, SqlFailed, SqlRefused
from tests.support.house import House, opened


@pytest.fixture(params=["local", "sqld", "turso"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    more = request.getfixturevalue("twin").variables if request.param == "turso" else {}
    sqld: Sqld | None = request.getfixturevalue("sqld") if request.param == "sqld" else None
    async with opened(tmp_path, sqld, **more) as found:
        yield found


def rows(ran: Ran) -> list[list[object]]:
    return [[decode(value) for value in row] for row in ran.results[-1].rows]


async def test_reading_writing_and_what_is_refused(house: House) -> None:
    sql = house.services.operator_sql
    name, other = await house.ready(2)
    assert rows(await sql.run(name, "SELECT new_cards_per_day FROM settings")) == [[10]]

    change = "UPDATE settings SET new_cards_per_day = 3"
    with pytest.raises(SqlRefused, match="use --write"):
        await sql.run(name, change)
    ran = await sql.run(name, change, writes=True)
    assert (ran.results[0].affected_row_count, ran.checked and ran.checked.verdict) == (1, "same")
    assert rows(await sql.run(other, "SELECT new_cards_per_day FROM settings")) == [[10]]

    for refused in ("ATTACH 'x' AS y", "DELETE FROM freehold_ledger", "SELECT load_extension('x')"):
        with pytest.raises(SqlRefused, match="statement 2"):
            await sql.run(name, f"{change} + 1; {refused}", writes=True)
    # All or none, where the script leaves transactions to us.
    with pytest.raises(SqlFailed, match=r"statement 2 failed.*nothing was changed"):
        await sql.run(name, f"{change} + 1; INSERT INTO settings (id) VALUES ('one')", writes=True)
    with pytest.raises(SqlFailed, match="leaves its transaction open"):
        await sql.run(name, f"BEGIN; {change} + 1", writes=True)
    for empty in ("", "-- nothing", ";" * 5):
        with pytest.raises(InvalidInput, match="no statement"):
            await sql.run(name, empty)
    assert rows(await sql.run(name, "SELECT new_cards_per_day FROM settings")) == [[3]]


async def test_the_repair_that_a_check_prints_can_be_run_and_the_schema_is_looked_at_again(house: House) -> None:
    services = house.services
    sql = services.operator_sql
    name, other = await house.ready(2)
    drifted = await sql.run(name, "DROP INDEX flashcards_due; CREATE TABLE mine (x)", writes=True)
    assert drifted.checked is not None
    assert drifted.checked.verdict == "drifted"

    found = await services.drift.one(await services.lifecycle.find(name))
    lines = [f"-- {name}, version {found.version}; stop", "BEGIN IMMEDIATE;"]
    script = "\n".join([*lines, *(f"{each};" for each in found.repair), "COMMIT;"])
    with pytest.raises(SqlRefused, match=f"made for {name}, not for {other}"):
        await sql.run(other, script, writes=True)
    repaired = await sql.run(name, script, writes=True)
    assert repaired.checked is not None
    assert repaired.checked.verdict == "same"


async def test_it_is_recorded_before_it_runs_also_when_it_fails(house: House) -> None:
    [name] = await house.ready(1)
    script = "SELECT nothing FROM nowhere"
    with pytest.raises(FreeholdError):
        await house.services.operator_sql.run(name, script)
    [newest] = await house.services.audit.newest(limit=1)
    tenant = await house.services.lifecycle.find(name)
    assert (newest.action, newest.target) == ("tenant.sql_run", f"tenant:{tenant.tenant_id}")
    assert newest.facts == {
        "database": name,
        "writes": False,
        "statements": 1,
        "sql": script,
        "sha256": hashlib.sha256(script.encode()).hexdigest(),
    }
    long = f"SELECT '{'ش' * 30_000}'"
    await house.services.operator_sql.run(name, long)
    [newest] = await house.services.audit.newest(limit=1)
    assert len(newest.facts["sql"]) < 4_000


async def test_a_suspended_tenant_is_asked_nothing(house: House) -> None:
    [name] = await house.ready(1)
    await house.services.lifecycle.suspend(name, "unpaid")
    with pytest.raises(WrongState, match="resume it first"):
        await house.services.operator_sql.run(name, "SELECT 1")


async def test_a_statement_without_end_is_stopped(tmp_path: Path) -> None:
    async with opened(tmp_path, TENANT_QUERY_TIMEOUT_S="0.2") as house:
        [name] = await house.ready(1)
        endless = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t"
        with pytest.raises(SqlFailed, match="longer than"):
            await house.services.operator_sql.run(name, endless)
