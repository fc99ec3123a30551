"""A service of several processes: whatever becomes of one, the others go on, and all end together."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.processes import family
from testbed.servers import Service

from tests.e2e.people import Person, run_sql, sign_up

# Nothing interrupts it; it takes minutes.
STUCK = "SELECT instr(hex(zeroblob(3900000)), hex(zeroblob(1900000)) || '1')"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(
        tmp_path, ENGINES="2", TENANT_QUERY_TIMEOUT_S="60", BETTER_AUTH_SECRET="s" * 40, DATABASE_TOKEN_PROFILE="full"
    ).start()
    yield running
    running.stop()


def parts(service: Service) -> dict[str, list[int]]:
    """The processes of the service by what they are."""
    parent, *others = family(service.process_id)
    found: dict[str, list[int]] = {"parent": [parent], "worker": [], "supervisor": [], "engine": []}
    for pid in others:
        try:
            above = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            is_ours = b"processes.supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:  # it has ended since
            continue
        if above != parent:
            found["engine"].append(pid)
        else:
            found["supervisor" if is_ours else "worker"].append(pid)
    return found


def counts(service: Service) -> dict[str, int]:
    """How many processes of each kind there are."""
    return {name: len(pids) for name, pids in parts(service).items()}


def until(is_so: Callable[[], Any], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def send(found: dict[str, Any], *requests: Any, baton: str | None = None) -> httpx.Response:
    """One pipeline over a connection of its own; a string stands for a statement."""
    asked = [{"type": "execute", "stmt": {"sql": each}} if isinstance(each, str) else each for each in requests]
    return httpx.post(
        f"{found['url']}v3/pipeline",
        headers={"authorization": f"Bearer {found['access_token']}"},
        json={"baton": baton, "requests": asked},
        timeout=30,
    )


def test_it_is_a_parent_a_worker_a_supervisor_and_engines_that_know_no_secret(service: Service) -> None:
    assert counts(service) == {"parent": 1, "worker": 1, "supervisor": 1, "engine": 2}
    found = parts(service)
    for pid in (*found["supervisor"], *found["engine"]):
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"BETTER_AUTH_SECRET" not in environ
        assert b"DATA_DIR" not in environ
    opened = {os.readlink(each) for pid in found["engine"] for each in Path(f"/proc/{pid}/fd").iterdir()}  # noqa: PTH115
    assert not [each for each in opened if "central.db" in each or "keys" in each]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_although_a_statement_does_not(service: Service, how: signal.Signals) -> None:
    found = sign_up(service.url).credentials()
    asking = threading.Thread(target=_ignoring_errors, args=(lambda: send(found, STUCK),), daemon=True)
    asking.start()
    time.sleep(1.0)
    everyone = family(service.process_id)
    began = time.monotonic()
    assert service._end(how) == 0
    assert time.monotonic() - began < 10  # three seconds, on a machine that has nothing else to do
    until(lambda: not [pid for pid in everyone if Path(f"/proc/{pid}").exists()])


def _ignoring_errors(act: Callable[[], object]) -> None:
    with contextlib.suppress(httpx.HTTPError):
        act()


def test_none_is_left_when_the_parent_is_killed(service: Service) -> None:
    everyone = family(service.process_id)
    assert len(everyone) == 5
    service.kill()
    until(lambda: not [pid for pid in everyone if Path(f"/proc/{pid}/cmdline").exists()])
    service.start()
    assert len(family(service.process_id)) == 5


@pytest.mark.parametrize("part", ["worker", "supervisor", "engine"])
def test_what_is_killed_is_started_again(service: Service, part: str) -> None:
    found = sign_up(service.url).credentials()
    run_sql(found, "CREATE TABLE IF NOT EXISTS mine (a)", "INSERT INTO mine VALUES (1)")
    before = parts(service)
    for pid in before[part]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: _still_answers(found))
    until(lambda: counts(service) == {name: len(pids) for name, pids in before.items()})
    assert not set(parts(service)[part]) & set(before[part])
    assert run_sql(found, "SELECT a FROM mine") == [["1"]]


def _still_answers(found: dict[str, Any]) -> bool:
    try:
        return send(found, "SELECT 1", {"type": "close"}).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_transaction_goes_on_over_fresh_connections(service: Service) -> None:
    found = sign_up(service.url).credentials()
    run_sql(found, "CREATE TABLE IF NOT EXISTS mine (a)")
    baton = send(found, "BEGIN").json()["baton"]
    for number in range(40):
        reply = send(found, f"INSERT INTO mine VALUES ({number})", baton=baton)
        assert reply.status_code == 200, reply.text
        assert reply.json()["results"][0]["type"] == "ok"
        baton = reply.json()["baton"]
    assert send(found, "COMMIT", {"type": "close"}, baton=baton).json()["results"][0]["type"] == "ok"
    assert run_sql(found, "SELECT count(*) FROM mine") == [["40"]]


def test_a_command_uses_the_engines_of_the_service_and_has_its_own_without_one(service: Service) -> None:
    people: list[Person] = [sign_up(service.url) for _ in range(3)]
    for person in people:
        person.credentials()
    before = parts(service)["engine"]
    checked = service.run("tenants", "check")
    assert checked.returncode == 0, checked.stderr
    assert parts(service)["engine"] == before
    service.stop()
    alone = service.run("tenants", "check")
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout == checked.stdout
    assert not list((service.data_dir / "run").glob("engine-*.sock"))
