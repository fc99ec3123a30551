"""A campaign against the service on the local twin of Turso: people come and go while everything fails at random.

What goes wrong is drawn from one seed: which calls of the Platform API and of the databases fail and how, when the
service and the twin are killed, who leaves again. When exactly each thing meets the other is up to the machine, so
that each run tries other interleavings. `python -m tests.support.campaign --people 300 --seed 7` is `make campaign`.
"""

import argparse
import contextlib
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from testbed.servers import Service
from testbed.twin import TOKEN, Twin

_AT_ONCE = 6
_LEAVING = 0.4
_PATIENCE_S = 240.0
# All calls of the API, then what single calls may do wrong, then the databases themselves.
FAULTS: list[dict[str, Any]] = [
    *({"kind": kind, "probability": 0.05} for kind in ("error_before", "error_after", "drop_before", "drop_after")),
    {"kind": "rate_limit", "probability": 0.03},
    {"kind": "not_json", "probability": 0.03},
    {"kind": "latency", "probability": 0.1, "seconds": 0.05},
    {"kind": "exists_as_400", "probability": 0.4},
    {"kind": "exists_as_422", "probability": 0.3},
    {"kind": "slow_ready", "probability": 0.1, "seconds": 0.7},
    {"kind": "no_access_claim", "probability": 0.05, "path": "*/auth/tokens"},
    {"kind": "expired_token", "probability": 0.05, "path": "*/auth/tokens"},
    *({"kind": kind, "probability": 0.02, "path": "/db/*"} for kind in ("error_before", "drop_before", "drop_after")),
]


@dataclass
class FaultReport:
    """What happened, and what was left in the end. `orphans` to `secrets` are to be empty."""

    signed_up: int = 0
    used: int = 0
    left: int = 0
    kills_of_service: int = 0
    kills_of_twin: int = 0
    duration_s: float = 0.0
    reconcile: dict[str, Any] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)
    without_database: list[str] = field(default_factory=list)
    not_current: list[str] = field(default_factory=list)
    not_deleted: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return not (self.orphans or self.without_database or self.not_current or self.not_deleted or self.secrets)


class FaultCampaign:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, people: int, seed: int, kills: int) -> None:
        self.people = people
        self.seed = seed
        self.kills = kills
        self.random = random.Random(seed)
        self.twin = Twin(folder / "twin", "--databases-at", "paths")
        self.folder = folder
        self.report = FaultReport()
        self._counts = threading.Lock()
        self._is_broken = threading.Event()

    def run(self) -> FaultReport:
        """Play it all, then look."""
        started = time.monotonic()
        self.twin.start()
        self.service = Service(self.folder / "service", RATE_LIMITS="off", **self.twin.variables).start()
        try:
            self.twin.fault(*FAULTS, seed=self.seed)
            with ThreadPoolExecutor(_AT_ONCE + 1) as pool:
                plans = [(number, self.random.random()) for number in range(self.people)]
                killer = pool.submit(self._kill)
                try:
                    list(pool.map(self._person, plans))
                except BaseException:
                    self._is_broken.set()
                    raise
                killer.result()
            self.service.kill()
            self.twin.fault_no_more()
            self._reconcile()
            self._look()
        finally:
            self.service.stop()
            self.twin.stop()
        self.report.duration_s = round(time.monotonic() - started, 1)
        return self.report

    def _person(self, plan: tuple[int, float]) -> None:
        """Comes, as a guest mostly; some ask for their database; some leave again, at once or later."""
        number, chance = plan
        headers = self._until_done("/api/auth/sign-in/anonymous", {})
        with self._counts:
            self.report.signed_up += 1
        if number % 2:
            self._use(headers)
        if chance < _LEAVING:
            time.sleep(chance)  # for half of them while it is being made
            self._until_done("/api/auth/delete-anonymous-user", headers)
            with self._counts:
                self.report.left += 1

    def _use(self, headers: dict[str, str]) -> None:
        """Wait for the database and write to it, as an app does."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                reply = httpx.get(f"{self.service.url}/databases/user", headers=headers, timeout=20)
                if reply.status_code == 200:
                    mine = reply.json()
                    body = {
                        "requests": [{"type": "execute", "stmt": {"sql": "update settings set new_cards_per_day = 7"}}]
                    }
                    token = {"authorization": f"Bearer {mine['access_token']}"}
                    httpx.post(f"{mine['url']}v3/pipeline", json=body, headers=token, timeout=20)
                    with self._counts:
                        self.report.used += 1
                    return
                assert reply.status_code in {202, 503}, reply.text
            time.sleep(0.1)
        raise AssertionError("a database was not made in time")

    def _until_done(self, path: str, headers: dict[str, str]) -> dict[str, str]:
        """Call until an answer comes; gives the session's header. Gone already counts as done."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                reply = httpx.post(f"{self.service.url}{path}", json={}, headers=headers, timeout=20)
                if reply.status_code == 200:
                    return {"authorization": f"Bearer {reply.json().get('token', '')}"}
                if reply.status_code == 401 and headers:
                    return headers  # an earlier call got through, and its answer was lost
                assert reply.status_code >= 500, (path, reply.text)
            assert time.monotonic() < until, f"{path} is not answered"
            time.sleep(0.05)

    def _kill(self) -> None:
        """Kill now the service, now the twin, spread over the people's coming."""
        for number in range(self.kills):
            wanted = (number + 1) * self.people // (self.kills + 1)
            while self.report.signed_up < wanted and not self._is_broken.wait(0.005):
                pass
            if self._is_broken.is_set():
                return
            time.sleep(self.random.random() / 4)
            if number % 3 == 1:
                self.twin.kill()
                self.twin.start()
                self.twin.fault(*FAULTS, seed=self.seed + number)
                self.report.kills_of_twin += 1
            else:
                self.service.kill()
                self.service.start()
                self.report.kills_of_service += 1

    def _reconcile(self) -> None:
        self.service.command_limit_s = 600
        done = self.service.run("tenants", "reconcile", "--yes", "--json")
        assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
        self.report.reconcile = json.loads(done.stdout.splitlines()[-1])

    def _look(self) -> None:
        with contextlib.closing(sqlite3.connect(self.service.data_dir / "central.db")) as db:
            users = [row[0] for row in db.execute("SELECT id FROM user")]
            tenants = {
                user_id: (name, state, version)
                for user_id, name, state, version in db.execute(
                    "SELECT user_id, database_name, state, schema_version FROM tenant"
                )
            }
            (newest,) = db.execute("SELECT max(version) FROM published_migration").fetchone()
        there = {each["Name"] for each in self.twin.call("GET", "databases").json()["databases"]}
        ready = {name for name, state, _ in tenants.values() if state == "ready"}
        report = self.report
        report.orphans = sorted(there - ready)
        report.without_database = sorted(
            user for user in users if user not in tenants or tenants[user][0] not in there & ready
        )
        report.not_deleted = sorted(
            name for user, (name, state, _) in tenants.items() if user not in users and state != "deleted"
        )
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            ledgers = dict(zip(ready & there, pool.map(self._ledger, ready & there), strict=True))
        complete = [str(version) for version in range(1, newest + 1)]
        report.not_current = sorted(
            name
            for name, state, version in tenants.values()
            if state == "ready" and (version != newest or ledgers.get(name) != complete)
        )
        report.secrets = sorted(self._secrets())

    def _ledger(self, name: str) -> list[str]:
        database = self.twin.call("GET", f"databases/{name}").json()["database"]
        sql = "select version from freehold_ledger order by version"
        status, answer = self.twin.run(database["Hostname"], self.twin.token(name), sql)
        assert status == 200, answer
        rows = answer["results"][0]["response"]["result"]["rows"]
        return [row[0]["value"] for row in rows]

    def _secrets(self) -> Iterator[str]:
        """Files of the service, and logs of both, that hold a token."""
        for file in (*self.service.folder.rglob("*"), self.twin.folder / "twin.log"):
            if file.is_file() and any(text in file.read_bytes() for text in (b"eyJhbGci", TOKEN.encode())):
                yield str(file)


def play(people: int, seed: int, kills: int) -> FaultReport:
    """One campaign in a folder that is removed at the end if all is well."""
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    report = FaultCampaign(folder, people, seed, kills).run()
    if report.is_whole:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"left for a look: {folder}", file=sys.stderr)
    return report


def main() -> int:
    """Play as the arguments say; exit code 1 if anything was left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    report = play(options.people, options.seed, options.kills)
    print(json.dumps(vars(report), indent=2))
    return 0 if report.is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
