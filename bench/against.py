"""The hot paths beside those of another revision, measured in turn in one run: `python -m bench --against 97dc196`.

A machine that others use drifts and stumbles, so that two runs one after the other compare the machine. Here both
services run beside each other and are asked in turns, new, old, old, new: what grows steadily in such a round is the
same for both. Each round gives one ratio; of all rounds the median counts, with the interval that the true one is in.
A path is too slow when even the upper end is below what is wanted; when the interval has both sides, there are more
rounds, up to a limit. What a request takes of the processor is told beside it, where less is better: that depends on
others far less, and shows which of the two it is when the interval stays wide. Before, both start two commands.
"""

import asyncio
import contextlib
import math
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
from testbed.processes import cpu_seconds, memory_mb
from testbed.sqld import running_sqld
from testbed.sqld_service import sqld_variables

from bench import start_up
from bench.interval import Interval, median_interval
from bench.load import Load, get, measure, post
from bench.report import Finding, note
from bench.revision import checked_out, source_of
from bench.service import MeasuredService

AT_LEAST = 0.97
_SECONDS = 0.8
_FEWEST, _MOST = 9, 27
_DECK = "'bench', 'Bench', '{}', 0, 1, 1"
_WITH_ROWS = (
    "INSERT INTO decks WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 60) "
    "SELECT 'deck ' || i, 'Deck ' || i, '{}', i, 1, 1 FROM n"
)
# The number of tenants, each with a database of its own, and of connections that share them.
_TENANTS, _CONNECTIONS = 200, 16
STATEMENTS = {
    "select 1": "SELECT 1",
    "50 rows": "SELECT id, name FROM decks ORDER BY id LIMIT 50",
    "insert": f"INSERT OR REPLACE INTO decks VALUES ({_DECK})",
}


_MANY = f"gateway, {_TENANTS} tenants"


@dataclass(frozen=True, slots=True)
class Effort:
    """How long is measured: so many seconds a turn, so many rounds of four turns."""

    seconds: float = _SECONDS
    fewest: int = _FEWEST
    most: int = _MOST


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two services, and what is sent to it."""

    service: MeasuredService
    requests: dict[str, tuple[bytes | list[bytes], str]] = field(default_factory=dict)


async def run(revision: str, names: list[str], effort: Effort) -> AsyncIterator[Finding]:
    """A finding for each path whose name holds one of these, or for all.

    Raises:
        NoSuchRevision: it cannot be checked out.
    """
    async with checked_out(revision) as tree:
        commands = [each for each in start_up.COMMANDS if not names or any(name in each for name in names)]
        async for finding in start_up.run_against(revision, tree, commands):
            yield finding
        with tempfile.TemporaryDirectory(prefix="freehold-bench-data-") as folder, running_sqld() as sqld:
            for kind, variables in (("files", {}), ("sqld", sqld_variables(sqld))):
                wanted = [each for each in _cases(kind) if not names or any(name in each for name in names)]
                if not wanted:
                    continue
                with _running(Path(folder) / kind, tree, variables) as (new, old):
                    for side in (new, old):
                        await prepare(side, kind)
                    if any(case.startswith(_MANY) for case in wanted):
                        note(f"signing {_TENANTS} people up, twice")
                        for side in (new, old):
                            await _prepare_many(side, kind)
                    for case in wanted:
                        note(f"measuring {case}, beside {revision}")
                        for finding in await _compare(case, new, old, revision, effort):
                            yield finding


def _cases(kind: str) -> list[str]:
    control = ["get-session, cookie", "get-session, bearer", "registry pull, 200", "registry pull, 304"]
    gateway = [f"gateway on {kind}, {label}" for label in STATEMENTS]
    many = [f"{_MANY} on {kind}, {label}" for label in STATEMENTS]
    return gateway if kind == "sqld" else [*control, *gateway, *many]


@contextlib.contextmanager
def _running(folder: Path, tree: Path, variables: dict[str, str]) -> Iterator[tuple[Side, Side]]:
    variables = {"RATE_LIMITS": "off", "TENANT_TOKEN_TTL_S": "86400", **variables}
    new = MeasuredService(folder / "new", **variables)
    old = MeasuredService(folder / "old", **variables, **source_of(tree))
    try:
        yield Side(new.start()), Side(old.start())
    finally:
        new.stop()
        old.stop()


async def prepare(side: Side, kind: str) -> None:
    async with httpx.AsyncClient(base_url=side.service.url, timeout=30) as http:
        person = {"name": "Bench", "email": "bench@example.com", "password": "correct-horse-1"}
        reply = (await http.post("/api/auth/sign-up/email", json=person)).raise_for_status()
        cookie = f"better-auth.session_token={reply.cookies['better-auth.session_token']}"
        token = reply.json()["token"]
        bearer = f"Bearer {token}"
        etag = (await http.get("/migrations", params={"after": 0})).headers["etag"]
        database = await _database(http, bearer)
    side.requests.update(
        {
            "get-session, cookie": (get("/api/auth/get-session", cookie=cookie), "200"),
            "get-session, bearer": (get("/api/auth/get-session", authorization=bearer), "200"),
            "registry pull, 200": (get("/migrations?after=0"), "200"),
            "registry pull, 304": (get("/migrations?after=0", if_none_match=etag), "304"),
        }
    )
    path = "/" + database["url"].split("/", 3)[3] + "v3/pipeline"
    authorization = f"Bearer {database['access_token']}"
    for label, sql in STATEMENTS.items():
        request = post(path, _pipeline(sql), authorization=authorization)
        side.requests[f"gateway on {kind}, {label}"] = (request, "200")
    async with httpx.AsyncClient(base_url=side.service.url, timeout=30) as http:
        reply = await http.post(path, content=_pipeline(_WITH_ROWS), headers={"Authorization": authorization})
        assert reply.json()["results"][0]["type"] == "ok", reply.text


async def _prepare_many(side: Side, kind: str) -> None:
    """A database for each of many people, with rows in it."""
    async with httpx.AsyncClient(base_url=side.service.url, timeout=60) as http:
        heads = []
        for number in range(_TENANTS):
            http.cookies.clear()  # each is a browser of its own
            person = {"name": "Bench", "email": f"bench-{number}@example.com", "password": "correct-horse-1"}
            reply = (await http.post("/api/auth/sign-up/email", json=person)).raise_for_status()
            database = await _database(http, f"Bearer {reply.json()['token']}")
            path = "/" + database["url"].split("/", 3)[3] + "v3/pipeline"
            authorization = f"Bearer {database['access_token']}"
            filled = await http.post(path, content=_pipeline(_WITH_ROWS), headers={"Authorization": authorization})
            assert filled.json()["results"][0]["type"] == "ok", filled.text
            heads.append((path, authorization))
    for label, sql in STATEMENTS.items():
        requests = [post(path, _pipeline(sql), authorization=authorization) for path, authorization in heads]
        side.requests[f"{_MANY} on {kind}, {label}"] = (requests, "200")


async def _database(http: httpx.AsyncClient, bearer: str) -> dict[str, str]:
    for _ in range(300):
        reply = await http.get("/databases/user", headers={"Authorization": bearer})
        if reply.status_code == httpx.codes.OK:
            found: dict[str, str] = reply.json()
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"no database: {reply.text}")


def _pipeline(sql: str) -> bytes:
    return msgspec.json.encode({"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]})


@dataclass(frozen=True, slots=True)
class _Turn:
    per_second: float
    cpu_ms: float  # of the processor for each request
    p99_ms: float


async def _turn(side: Side, case: str, seconds: float) -> _Turn:
    request, status = side.requests[case]
    connections = 4 if case.startswith("gateway on") else _CONNECTIONS
    before_s = cpu_seconds(side.service.process_id)
    load = await measure(side.service.port, request, connections=connections, seconds=seconds)
    spent_s = cpu_seconds(side.service.process_id) - before_s
    _must_be(load, case, status)
    return _Turn(load.per_second, spent_s * 1000 / load.requests, load.p99_ms)


async def _compare(case: str, new: Side, old: Side, revision: str, effort: Effort) -> list[Finding]:
    for side in (new, old):
        await _turn(side, case, min(effort.seconds, 0.5))  # files are open and code is warm from here on
    turns: list[tuple[_Turn, _Turn]] = []
    ratios: list[float] = []
    found = Interval(0, 0, math.inf)
    while len(ratios) < effort.fewest or (len(ratios) < effort.most and found.low < AT_LEAST <= found.high):
        order = (new, old, old, new) if len(ratios) % 2 == 0 else (old, new, new, old)
        done = [(side is new, await _turn(side, case, effort.seconds)) for side in order]
        ours = [turn for is_new, turn in done if is_new]
        theirs = [turn for is_new, turn in done if not is_new]
        turns += zip(ours, theirs, strict=True)
        ratios.append(math.prod(x.per_second for x in ours) / math.prod(x.per_second for x in theirs))
        ratios[-1] = math.sqrt(ratios[-1])
        found = median_interval(ratios)
    cpu = median_interval([ours.cpu_ms / theirs.cpu_ms for ours, theirs in turns if theirs.cpu_ms])
    rates = [(ours.per_second, theirs.per_second) for ours, theirs in turns]
    costs = [(ours.cpu_ms, theirs.cpu_ms) for ours, theirs in turns]
    tails = [(ours.p99_ms, theirs.p99_ms) for ours, theirs in turns]
    tail = median_interval([ours / theirs for ours, theirs in tails])
    note(f"  memory: {memory_mb(new.service.process_id):.0f} MB, and {memory_mb(old.service.process_id):.0f} MB")
    return [
        _finding(case, "/s", rates, found, revision, AT_LEAST),
        _finding(f"{case}, processor", "ms", costs, cpu, revision, None),
        _finding(f"{case}, p99", "ms", tails, tail, revision, None),
    ]


def _finding(
    name: str, unit: str, pairs: list[tuple[float, float]], found: Interval, revision: str, at_least: float | None
) -> Finding:
    ours, theirs = zip(*pairs, strict=True)
    return Finding(
        name=name,
        unit=unit,
        ours=round(median_interval(ours).median, 3),
        floor=round(median_interval(theirs).median, 3),
        ratio=round(found.median, 3),
        at_least=at_least,
        low=round(found.low, 3),
        high=round(found.high, 3),
        beside=revision,
    )


def _must_be(load: Load, case: str, status: str) -> None:
    if set(load.statuses) != {status}:
        raise AssertionError(f"{case}: expected only {status}, got {load.statuses}")
