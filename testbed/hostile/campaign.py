"""Hostile people at a running service, and bystanders who must not notice; what is left of it afterwards.

`python -m testbed.hostile.campaign --on sqld --seconds 120 --seed 3` is `make hostile`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from testbed.hostile.bystanders import KINDS, Bystanders, outbox_of
from testbed.hostile.report import HOSTILE, KEPT_CORES, Report, Use, told
from testbed.hostile.served import Served
from testbed.hostile.strict import Strict
from testbed.processes import cpu_seconds, family, memory_mb
from testbed.servers import ROOT, clean_environ

BYSTANDERS = 3
# When sqld is killed: what comes before has no excuse.
_KILLED_AT = 0.7
_SETTLING_S = 60.0
_PREPARING_S = 180.0


@asynccontextmanager
async def opened(service: Served) -> AsyncIterator[Bystanders]:
    """A client for the bystanders."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield Bystanders(service.url, outbox_of(service.data_dir), http)


class Turns:
    """Lets campaigns prepare beside each other, and attack one after the other once all are ready."""

    def __init__(self, campaigns: int) -> None:
        self._ready = threading.Barrier(campaigns, timeout=_PREPARING_S)
        self._attacking = threading.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The machine for this campaign alone; the services of the others are idle meanwhile."""
        await asyncio.to_thread(self._ready.wait)
        await asyncio.to_thread(self._attacking.acquire)
        try:
            yield
        finally:
            self._attacking.release()

    def give_up(self) -> None:
        """Nobody waits for a campaign that is not going to be ready."""
        self._ready.abort()


class Campaign:
    """One service, its hostile people and its bystanders; and a second one for what takes other settings."""

    def __init__(self, service: Served, seed: int, only: tuple[str, ...] = (), strict: Strict | None = None) -> None:
        self.service = service
        self.strict = strict
        self.seed = seed
        self.only = only
        self.report = Report(has_sqld=service.kind == "sqld")
        self.people: list[dict[str, Any]] = []
        self.hostile: list[dict[str, Any]] = []

    async def prepare(self, bystanders: Bystanders) -> None:
        """Everybody is there, with a database, and has used it once."""
        self.people = [await bystanders.sign_up(f"person-{number}") for number in range(BYSTANDERS)]
        for person in self.people:
            await bystanders.write_and_read(person)
        # Every other one has a token for rows alone, if the service hands out more.
        guests = (
            bystanders.guest(f"192.0.2.{number + 1}", "rows" if number % 2 else "full") for number in range(HOSTILE)
        )
        # The first one signs in with a password, and the last one's session ends when they sign in by code.
        others = {
            "owner": self.people[-1]["email"],
            "stolen": {name: self.people[1][name] for name in ("session", "email")},
        }
        self.hostile = [{**await guest, **others} for guest in guests]

    async def run(self, seconds: float, *, kills: bool = True, turns: Turns | None = None) -> Report:
        """All of it: before, meanwhile and afterwards."""
        async with AsyncExitStack() as stack:
            async with opened(self.service) as bystanders:
                await self.prepare(bystanders)
                if self.strict is not None:
                    await self.strict.furnish(bystanders.http)
                await stack.enter_async_context((turns or Turns(1)).turn())
                await self.idle()
                self.report.before = self.use()
                await self._attacked(bystanders, seconds, kills=kills)
            await self.settle()
        self.report.ends = self._ends_of_sqld()
        return self.report

    async def _attacked(self, bystanders: Bystanders, seconds: float, *, kills: bool) -> None:
        """What the hostile people and the bystanders do, until the last of these is through."""
        using = asyncio.create_task(self._use(bystanders))
        watching = asyncio.create_task(self._watch())
        try:
            storming = asyncio.create_task(self.storm(seconds))
            if kills and self.service.kind == "sqld":
                await asyncio.sleep(seconds * _KILLED_AT)
                self._kill_sqld()
            await storming
            await self._go_on(bystanders)
            await self._look_for_guests(bystanders)
        finally:
            watching.cancel()
            using.cancel()
            await asyncio.gather(using, watching, return_exceptions=True)
            self.report.done = bystanders.done
            self.report.asked_again = bystanders.asked_again

    async def _use(self, bystanders: Bystanders) -> None:
        """Do what bystanders do, for ever; the second service starts meanwhile."""
        async with asyncio.TaskGroup() as group:
            group.create_task(bystanders.run(self.people))
            if self.strict is not None:
                await asyncio.to_thread(self.strict.start)
                there = replace(bystanders, url=self.strict.url)  # what is done is noted in the same place
                group.create_task(there.come_back(self.strict.comes_back))

    async def _look_for_guests(self, bystanders: Bystanders) -> None:
        """Note what there is of those who have not come back; on a slow machine they may still be going."""
        until = time.monotonic() + _SETTLING_S
        while self.strict is not None:
            self.report.gone = await self.strict.left(bystanders.http)
            if not self.report.gone or time.monotonic() > until:
                return
            await asyncio.sleep(1)

    async def _go_on(self, bystanders: Bystanders) -> None:
        """Let what bystanders are at come to its end: on a slow machine it may be the first of its kind."""
        until = time.monotonic() + _SETTLING_S
        await asyncio.sleep(3)
        while {each.what for each in bystanders.done if not each.fault} < KINDS and time.monotonic() < until:
            await asyncio.sleep(0.5)

    async def storm(self, seconds: float) -> None:
        """The hostile people do what they can."""
        order = {
            "url": self.service.url,
            "outbox": str(outbox_of(self.service.data_dir).path),
            "seed": self.seed,
            "seconds": seconds,
            "people": [
                {
                    **{name: each[name] for name in _OF_HOSTILE},
                    **({"strict": self.strict.handed_to(number)} if self.strict is not None else {}),
                }
                for number, each in enumerate(self.hostile)
            ],
            "only": self.only,
        }
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "testbed.hostile.storm"),
            cwd=ROOT,
            env=clean_environ(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            out, _ = await asyncio.wait_for(child.communicate(json.dumps(order).encode()), seconds + 150)
        finally:
            if child.returncode is None:
                child.kill()
        for name, outcomes in json.loads(out).items():
            self.report.outcomes.setdefault(name, Counter()).update(outcomes)

    async def idle(self, limit_s: float = 20.0) -> float:
        """Wait until nothing is at work, at most so long; gives how many cores are."""
        until = time.monotonic() + limit_s
        while True:
            cores = await self.cores()
            if cores <= KEPT_CORES or time.monotonic() > until:
                return cores

    async def cores(self) -> float:
        """How many cores the service has at work, over two seconds."""
        before_s, began = cpu_seconds(self.service.process_id), time.monotonic()
        await asyncio.sleep(2)
        return max(0.0, cpu_seconds(self.service.process_id) - before_s) / (time.monotonic() - began)

    def use(self) -> Use:
        """What the service takes now."""
        files = 0
        for each in family(self.service.process_id):
            with contextlib.suppress(OSError):
                files += sum(1 for _ in Path(f"/proc/{each}/fd").iterdir())
        return Use(memory_mb(self.service.process_id), files, _size_mb(self.service.data_dir))

    async def settle(self) -> None:
        """Wait until all is as it was, or until it should be."""
        until = time.monotonic() + _SETTLING_S
        while True:
            self.report.cores_after = await self.cores()
            self.report.after = self.use()
            if not self.report.left or time.monotonic() > until:
                return

    def _kill_sqld(self) -> None:
        number = self.service.sqld_id()
        if number is not None:
            os.kill(number, signal.SIGKILL)
            self.report.killed += 1

    def _ends_of_sqld(self) -> list[str]:
        """Why, as its supervisor saw it."""
        found = []
        for line in self.service.log().splitlines():
            if '"sqld.ended"' in line:
                found.append(str(json.loads(line).get("reason")))
        return found

    async def _watch(self) -> None:
        """Note when sqld is not there, or is another one."""
        if self.service.kind != "sqld":
            return
        last = self.service.sqld_id()
        seen_at = time.monotonic()
        gone_at: float | None = None
        while True:
            await asyncio.sleep(0.1)
            began = time.monotonic()
            found = await asyncio.to_thread(self.service.sqld_id)
            now = time.monotonic()
            if found is None and gone_at is None:
                gone_at = seen_at
            elif found is not None and found != last:
                # It ended after the look before this one.
                self.report.excused.append((seen_at if gone_at is None else gone_at, now))
                self.report.restarted += 1
                last, gone_at = found, None
            if gone_at is None:
                seen_at = began


_OF_HOSTILE = ("session", "database_url", "token", "address", "owner", "stolen")


def _size_mb(folder: Path) -> float:
    """What is on the disk, holes left out."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total / 1_000_000


def play(
    kind: str, *, seconds: float, seed: int, profile: str, only: tuple[str, ...] = (), turns: Turns | None = None
) -> Report:
    """One campaign in a folder that is removed at the end. `turns` is for several at once, each in its own thread."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    service, strict = Served(folder, kind, profile), Strict(folder / "strict", kind)
    try:
        report = asyncio.run(Campaign(service.start(), seed, only, strict).run(seconds, turns=turns))
        for each in (service, strict):
            assert each.is_running, each.log()[-3000:]
        return report
    except BaseException:
        if turns is not None:
            turns.give_up()
        for each in (service, strict):
            print(each.log()[-5000:], file=sys.stderr)
        raise
    finally:
        strict.stop()
        service.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Play as the arguments say; exit code 1 if anybody noticed, or anything was left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", choices=("files", "sqld"), default="files")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--profile", choices=("rows", "full"), default="full")
    parser.add_argument("--only", nargs="*", default=(), metavar="ATTACK", help="some of the attacks, by name")
    options = parser.parse_args()
    report = play(
        options.on, seconds=options.seconds, seed=options.seed, profile=options.profile, only=tuple(options.only)
    )
    print(
        json.dumps(
            told(report),
            indent=1,
            default=lambda each: {name: getattr(each, name) for name in each.__dataclass_fields__},
        )
    )
    return 1 if report.faults or report.successes or report.left else 0


if __name__ == "__main__":
    sys.exit(main())
