"""The audit trail on a real database, in a file and on a libSQL server: what writes it, and what spoils it."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from freehold.audit.chain import mac_key
from freehold.audit.service import Audit
from freehold.audit.types import Anchor, Event, Filter
from freehold.central.audit_store import CentralAudit
from freehold.central.engine import Central, open_central
from freehold.central.upgrade import upgrade_central
from freehold.errors import CentralUnavailable
from tests.support.central_place import CentralPlace

KEY = mac_key("secret")

# A process that records as fast as it can, half of it inside transactions of its own.
_RECORDING = """
import asyncio, sys
from pathlib import Path
from freehold.audit.types import Event
from freehold.audit.chain import mac_key
from freehold.central.audit_store import CentralAudit
from freehold.central.engine import open_central, open_remote_central
async def main(place, token, count, key):
    central = open_remote_central(place, token, key) if "://" in place else open_central(Path(place), key)
    audit = CentralAudit(central)
    async def inside(number):
        async with central.write() as db:
            await central.record(db, Event("test.inside", details={"number": number}))
    alone = [audit.record(Event("test.alone", details={"number": n})) for n in range(count)]
    await asyncio.gather(*alone, *map(inside, range(count)))
    await central.close()
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), mac_key("secret")))
"""


@dataclass
class Trail:
    place: str
    token: str
    central: Central
    store: CentralAudit

    @property
    def audit(self) -> Audit:
        return Audit(self.store)

    async def fill(self, count: int) -> None:
        async with self.central.write() as db:
            await self.central.record(db, *(Event("test.done", f"user:u{n % 3}", {"n": n}) for n in range(count)))

    async def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        async with self.central.write() as db:
            for sql in statements:
                done = await db.exec_driver_sql(sql)
            return [tuple(row) for row in done.all()] if done.returns_rows else []

    async def unguarded(self, *statements: str) -> None:
        """As who has the database: away with the guards, do it, and put them back."""
        rows = await self.sql("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'audit%'")
        dropped = [f"DROP TRIGGER {name}" for name, _ in rows]
        await self.sql(*dropped, *statements, *(sql for _, sql in rows))


@pytest.fixture
async def trail(place: CentralPlace) -> AsyncIterator[Trail]:
    async with place.opened(KEY) as (central, _):
        yield Trail(str(place.path or place.url), place.token, central, CentralAudit(central))


async def test_an_entry_is_committed_with_the_change_or_not_at_all(trail: Trail) -> None:
    with pytest.raises(ZeroDivisionError):
        async with trail.central.write() as db:
            await trail.central.record(db, Event("test.undone"))
            raise ZeroDivisionError
    assert (await trail.store.head()).seq == 0
    await trail.fill(1)
    found = await trail.audit.newest()
    assert [(entry.seq, entry.action) for entry in found] == [(2, "test.done"), (1, "audit.started")]
    assert (await trail.audit.verify()).is_whole


async def test_processes_that_record_at_once_make_one_chain(trail: Trail) -> None:
    count, processes = (60, 3) if "://" not in trail.place else (20, 2)
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _RECORDING, trail.place, trail.token, str(count), stderr=asyncio.subprocess.PIPE
        )
        for _ in range(processes)
    ]
    ended = await asyncio.gather(*(child.communicate() for child in children))
    assert [child.returncode for child in children] == [0] * processes, ended
    verdict = await trail.audit.verify()
    assert verdict.is_whole
    assert verdict.entries == 2 * count * processes + 1
    numbers = [entry.facts["number"] async for entry in trail.audit.each(matching=Filter(action="test.alone"))]
    assert sorted(numbers) == sorted(list(range(count)) * processes)


async def test_a_process_killed_while_recording_leaves_a_whole_trail(trail: Trail) -> None:
    await trail.fill(1)
    # A server waits some seconds for a transaction whose client has died.
    for _ in range(1 if "://" in trail.place else 3):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _RECORDING, trail.place, trail.token, "5000", stderr=asyncio.subprocess.PIPE
        )
        start = (await trail.store.head()).seq
        while (await trail.store.head()).seq == start:
            await asyncio.sleep(0)
        child.kill()
        await child.wait()
        await trail.fill(1)
        assert (await trail.audit.verify()).is_whole


async def test_what_is_recorded_alone_shares_transactions(trail: Trail) -> None:
    commits: list[None] = []
    write, recorded = trail.central.record_drafts, trail.central

    class Counting(Central):
        async def record_drafts(self, db: Any, drafts: Any) -> None:
            commits.append(None)
            await write(db, drafts)

    store = CentralAudit(Counting(recorded.engine, KEY))
    await asyncio.gather(*(store.record(Event("test.done", details={"n": n})) for n in range(200)))
    assert len(commits) <= 3
    found = [entry.facts["n"] async for entry in trail.audit.each(matching=Filter(action="test.done"))]
    assert found == list(range(200))


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_entry SET actor = 'user:other' WHERE seq = 2",
        "UPDATE audit_entry SET seq = 99 WHERE seq = 2",
        "DELETE FROM audit_entry WHERE seq = 3",
        "DELETE FROM audit_entry",
        "INSERT INTO audit_entry VALUES (99, '', '', '', '', '', '', '', '')",
        "INSERT INTO audit_entry VALUES (2, '', '', '', '', '', '', '', '')",
        "INSERT OR REPLACE INTO audit_entry VALUES (2, '', '', '', '', '', '', '', '')",
        "REPLACE INTO audit_entry SELECT seq, at, action, 'x', target, ip_address, request_id, details, hash "
        "FROM audit_entry WHERE seq = 2",
        "INSERT INTO audit_append VALUES (4, '', '', '', '', '', '', '', 'h', 'not the newest hash', '')",
        "INSERT INTO audit_append VALUES (9, '', '', '', '', '', '', '', 'h', '', '')",
        "UPDATE audit_head SET seq = 1",
        "UPDATE audit_head SET seq = seq + 1",
        "UPDATE audit_head SET hash = ''",
        "DELETE FROM audit_head",
        "INSERT INTO audit_head VALUES (2, 0, '', '')",
        "INSERT OR REPLACE INTO audit_head VALUES (1, 0, '', '')",
    ],
)
async def test_sql_changes_nothing_that_was_recorded(trail: Trail, sql: str) -> None:
    await trail.fill(2)
    with pytest.raises(IntegrityError, match="audit trail"):
        await trail.sql(sql)
    verdict = await trail.audit.verify()
    assert (verdict.is_whole, verdict.entries) == (True, 3)


FORGED = "'2026-01-01T00:00:00.000Z', 'x', 'x', '', '', '', '{}', 'ff'"


@pytest.mark.parametrize(
    ("statements", "broken_at", "reason"),
    [
        (["UPDATE audit_entry SET actor = 'user:other' WHERE seq = 5"], 5, "changed"),
        (["UPDATE audit_entry SET details = CAST(x'ff' AS TEXT) WHERE seq = 5"], 5, "changed"),
        (["UPDATE audit_entry SET actor = x'00ff' WHERE seq = 5"], 5, "changed"),
        (["UPDATE audit_entry SET hash = 'ff' WHERE seq = 5"], 5, "changed"),
        (["UPDATE audit_entry SET at = '2026-01-01T00:00:00.000Z' WHERE seq = 1"], 1, "changed"),
        (["DELETE FROM audit_entry WHERE seq = 5"], 5, "missing"),
        (["DELETE FROM audit_entry WHERE seq = 1"], 1, "missing"),
        (["DELETE FROM audit_entry WHERE seq > 15"], 16, "missing"),
        (["DELETE FROM audit_entry"], 1, "missing"),
        ([f"INSERT INTO audit_entry VALUES (22, {FORGED})"], 22, "added"),
        (["DELETE FROM audit_entry WHERE seq > 15",
          "UPDATE audit_head SET seq = 15, hash = (SELECT hash FROM audit_entry WHERE seq = 15)"],
         15, "not written with this secret"),
        (["UPDATE audit_head SET hash = 'ff'"], 21, "not the one"),
        (["UPDATE audit_head SET seq = 15"], 16, "added"),
    ],
)  # fmt: skip
async def test_verify_names_the_first_entry_that_was_spoilt(
    trail: Trail, statements: list[str], broken_at: int, reason: str
) -> None:
    await trail.fill(20)
    assert (await trail.audit.verify()).is_whole
    await trail.unguarded(*statements)
    verdict = await trail.audit.verify()
    assert verdict.broken_at == broken_at, verdict
    assert reason in (verdict.reason or "")


async def test_what_is_no_text_any_more_can_still_be_shown(trail: Trail) -> None:
    await trail.fill(1)
    await trail.unguarded("UPDATE audit_entry SET actor = x'41ff', details = CAST(x'7bff' AS TEXT) WHERE seq = 2")
    shown = (await trail.audit.newest(limit=1))[0].shown()
    assert (shown["actor"], shown["details"]) == ("A\ufffd", {"unreadable": "{\ufffd"})


async def test_a_cut_that_was_smoothed_over_by_going_on_stays_visible(trail: Trail) -> None:
    await trail.fill(20)
    await trail.unguarded(
        "DELETE FROM audit_entry WHERE seq > 15",
        "UPDATE audit_head SET seq = 15, hash = (SELECT hash FROM audit_entry WHERE seq = 15)",
    )
    await trail.fill(3)
    verdict = await trail.audit.verify()
    assert (verdict.broken_at, verdict.entries) == (16, 15)
    assert "other hands" in (verdict.reason or "")
    assert (await trail.audit.verify(after=16)).is_whole  # looked into, and accepted


async def test_an_anchor_tells_of_a_head_that_was_put_back(trail: Trail) -> None:
    """With its seal, noted by an attacker before: from inside the database that cannot be seen."""
    await trail.fill(10)
    [(seq, hash_, seal)] = await trail.sql("SELECT seq, hash, seal FROM audit_head")
    await trail.fill(10)
    anchor = Anchor((head := await trail.store.head()).seq, head.hash)
    await trail.unguarded(
        f"DELETE FROM audit_entry WHERE seq > {seq}",
        f"UPDATE audit_head SET seq = {seq}, hash = '{hash_}', seal = '{seal}'",
    )
    assert (await trail.audit.verify()).is_whole
    verdict = await trail.audit.verify([anchor])
    assert verdict.broken_at == seq + 1
    await trail.fill(15)  # and it goes on, past where it was cut
    verdict = await trail.audit.verify([Anchor(1, (await trail.store.page(after=0, limit=1))[0].hash), anchor])
    assert verdict.broken_at == anchor.seq
    assert "anchor" in (verdict.reason or "")


async def test_only_the_services_own_secret_seals(trail: Trail) -> None:
    await trail.fill(3)
    other = Trail(trail.place, trail.token, Central(trail.central.engine, mac_key("another")), trail.store)
    await other.fill(1)
    found = [entry.action async for entry in trail.audit.each(after=4)]
    assert found == ["audit.resealed", "test.done"]


async def test_checking_goes_page_by_page(trail: Trail) -> None:
    await trail.fill(2_500)
    pages: list[int] = []
    verdict = await trail.audit.verify(on_page=pages.append)
    assert (verdict.is_whole, pages) == (True, [1_000, 1_000, 501])
    pages.clear()
    assert (await trail.audit.verify(after=2_000, on_page=pages.append)).entries == 501
    assert pages == [501]
    assert (await trail.audit.verify(after=9_999)).broken_at == 9_999


async def test_filters_and_pages(trail: Trail) -> None:
    await trail.fill(9)
    newest = await trail.audit.newest(limit=2, matching=Filter(target="user:u1"))
    assert [entry.facts["n"] for entry in newest] == [7, 4]
    older = await trail.audit.newest(before=newest[-1].seq, limit=2, matching=Filter(target="user:u1"))
    assert [entry.facts["n"] for entry in older] == [1]
    assert await trail.audit.newest(matching=Filter(since="2999-01-01")) == []
    assert len(await trail.audit.newest(matching=Filter(until="2999-01-01", actor="system"))) == 10
    assert [entry.seq async for entry in trail.audit.each(after=3, limit=2)] == [4, 5]


async def test_nothing_is_recorded_when_the_database_does_not_answer(tmp_path: Path) -> None:
    central = open_central(tmp_path / "no such folder" / "central.db")
    store = CentralAudit(central)
    results = await asyncio.gather(*(store.record(Event("test.done")) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [CentralUnavailable] * 3
    await central.close()


async def test_a_caller_that_gives_up_takes_nobody_with_it(tmp_path: Path) -> None:
    central = open_central(tmp_path / "central.db", KEY)
    await upgrade_central(central)
    store = CentralAudit(central)
    holder = sqlite3.connect(tmp_path / "central.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    leaving = asyncio.create_task(store.record(Event("test.left")))
    staying = asyncio.create_task(store.record(Event("test.stayed")))
    await asyncio.sleep(0)
    leaving.cancel()
    holder.execute("COMMIT")
    await staying
    holder.close()
    found = [entry.action async for entry in Audit(store).each()]
    assert found == ["audit.started", "test.left", "test.stayed"]
    await central.close()
