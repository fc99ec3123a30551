"""The central database leaves the sqld that runs tenants' SQL: by itself or by a command, and nothing is lost."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from testbed.servers import Service
from testbed.sqld import Sqld, running_sqld
from testbed.sqld_service import sqld_variables

from tests.e2e.people import PASSWORD, Person, run_sql, sign_up


@pytest.fixture
def sqld() -> Iterator[Sqld]:
    with running_sqld() as running:
        yield running


@pytest.fixture
def shared(sqld: Sqld, tmp_path: Path) -> Iterator[Service]:
    """As the compose file was: everything on one sqld."""
    central = f"{sqld.url.replace('127.0.0.1', 'localhost')}/?namespace=central"
    variables = {**sqld_variables(sqld), "DATABASE_URL": central, "BETTER_AUTH_SECRET": "s" * 40}
    service = Service(tmp_path / "service", **variables).start()
    yield service
    service.stop()


def _signs_in(url: str, email: str) -> bool:
    body = {"email": email, "password": PASSWORD}
    return httpx.post(f"{url}/api/auth/sign-in/email", json=body, timeout=30).status_code == 200


def _is_still_in(person: Person) -> bool:
    reply = httpx.get(f"{person.url}/api/auth/get-session", headers=person.headers, timeout=30)
    return reply.status_code == 200 and reply.json() is not None


def test_a_shared_sqld_is_told_at_each_start_and_goes_on_working(shared: Service) -> None:
    person = sign_up(shared.url)
    run_sql(person.credentials(), "UPDATE settings SET new_cards_per_day = 77")
    for _ in range(2):
        (line,) = [each for each in shared.log().splitlines() if "central.shares_sqld" in each]
        told = json.loads(line)
        assert told["level"] == "warning"
        assert "freehold central copy --to" in told["hint"]
        shared.stop()
        shared.log_file.unlink()
        shared.start()
        assert _is_still_in(person)


def test_without_its_url_the_next_start_moves_it_into_a_file(shared: Service, sqld: Sqld) -> None:
    person = sign_up(shared.url, "mover@example.com")
    mine = person.credentials()
    run_sql(mine, "UPDATE settings SET new_cards_per_day = 77")
    url = shared.variables.pop("DATABASE_URL")
    shared.stop()
    shared.start()
    assert "central.moved" in shared.log()
    assert (shared.data_dir / "central.db").stat().st_size > 0
    assert _signs_in(shared.url, "mover@example.com")
    assert _is_still_in(person)
    assert person.credentials()["db_name"] == mine["db_name"]
    assert run_sql(person.credentials(), "SELECT new_cards_per_day FROM settings") == [["77"]]
    assert shared.run("audit", "verify").returncode == 0
    # Now tenants' SQL takes nobody's sign-in along.
    sqld.kill()
    assert _signs_in(shared.url, "mover@example.com")
    sign_up(shared.url, "later@example.com")
    sqld.start()
    # Nobody goes on with the old one by mistake, and the file is not made again from it.
    done = shared.run("tenants", "list", DATABASE_URL=url)
    assert done.returncode == 3
    assert "was copied to sqlite:///" in done.stderr
    shared.stop()
    (shared.data_dir / "central.db").rename(shared.folder / "away.db")
    done = shared.run("tenants", "list")
    assert done.returncode == 3
    assert "there is no such file now" in done.stderr
    shutil.move(shared.folder / "away.db", shared.data_dir / "central.db")
    shared.start()
    assert _signs_in(shared.url, "later@example.com")


def test_a_new_installation_waits_for_sqld_to_say_that_there_is_nothing_to_move(sqld: Sqld, tmp_path: Path) -> None:
    service = Service(tmp_path, **sqld_variables(sqld))
    sqld.stop()
    done = service.run("tenants", "list")
    assert done.returncode == 4
    assert "cannot be told" in done.stderr
    sqld.start()
    assert service.run("tenants", "list").returncode == 3  # nor does it begin one
    assert service.run("registry", "publish").returncode == 0
    assert service.run("tenants", "list").returncode == 0


def test_nothing_acknowledged_is_lost_although_a_service_writes_all_the_while(shared: Service, tmp_path: Path) -> None:
    kept: list[str] = []
    refused: set[int] = set()
    is_over = threading.Event()

    def come(number: int) -> None:
        while not is_over.is_set():
            email = f"p{number}-{len(kept)}-{time.monotonic_ns()}@example.com"
            body = {"name": "P", "email": email, "password": PASSWORD}
            reply = httpx.post(f"{shared.url}/api/auth/sign-up/email", json=body, timeout=30)
            if reply.status_code == 200:
                kept.append(email)
            else:
                refused.add(reply.status_code)

    people = [threading.Thread(target=come, args=(number,)) for number in range(3)]
    for each in people:
        each.start()
    try:
        _wait_until(lambda: len(kept) >= 10)
        to = tmp_path / "moved.db"
        done = shared.run("central", "copy", "--to", f"sqlite:///{to}", "--json")
        assert done.returncode == 0, (done.stdout, done.stderr)
        moved = json.loads(done.stdout)
        _wait_until(lambda: bool(refused))
    finally:
        is_over.set()
        for each in people:
            each.join()
    assert refused == {503}  # nobody is told that their address is taken
    assert moved["rows"]["user"] == len(kept)
    again = shared.run("central", "copy", "--to", f"sqlite:///{to}")
    assert (again.returncode, "was copied before" in again.stdout) == (0, True)
    shared.stop()
    shared.variables["DATABASE_URL"] = f"sqlite:///{to}"
    shared.start()
    assert all(_signs_in(shared.url, email) for email in kept)
    done = shared.run("central", "copy", "--to", f"sqlite:///{to}")
    assert done.returncode == 1
    assert "already" in done.stderr


def test_a_copy_that_is_killed_again_and_again_comes_to_its_end(shared: Service, tmp_path: Path) -> None:
    people = [sign_up(shared.url) for _ in range(3)]
    shared.stop()
    to = f"sqlite:///{tmp_path / 'moved.db'}"
    shared.command_limit_s = 0.5
    for _ in range(6):
        try:
            done = shared.run("central", "copy", "--to", to)
        except Exception:
            shared.command_limit_s += 0.25
        else:
            assert done.returncode == 0, done.stderr
            break
    shared.command_limit_s = 60.0
    assert shared.run("central", "copy", "--to", to).returncode == 0
    shared.variables["DATABASE_URL"] = to
    shared.start()
    assert all(_signs_in(shared.url, each.email) for each in people)


def test_one_that_a_power_failure_closed_is_opened_and_moved_by_the_next_start(shared: Service, sqld: Sqld) -> None:
    person = sign_up(shared.url, "survivor@example.com")
    person.credentials()
    shared.stop()
    sqld.kill()
    log = sqld.folder / "data/dbs/central/wallog"
    os.truncate(log, log.stat().st_size - 5000)
    sqld.start()
    done = shared.run("tenants", "list")
    assert done.returncode == 4
    assert "set SQLD_DATA_DIR" in done.stderr
    shared.variables["SQLD_DATA_DIR"] = str(sqld.folder / "data")
    del shared.variables["DATABASE_URL"]
    shared.start()
    assert "central.file_set_aside" in shared.log()
    assert "central.moved" in shared.log()
    assert len(list(log.parent.glob("wallog.damaged-*"))) == 1
    assert _signs_in(shared.url, "survivor@example.com")
    assert _is_still_in(person)


def test_the_tenants_sqld_is_refused_as_a_place_and_a_dry_run_changes_nothing(
    shared: Service, sqld: Sqld, tmp_path: Path
) -> None:
    done = shared.run("central", "copy", "--to", f"http://localhost:{sqld.port}/?namespace=other")
    assert done.returncode == 2
    assert "runs tenants' SQL" in done.stderr
    done = shared.run("central", "copy", "--to", f"sqlite:///{tmp_path / 'x.db'}", "--dry-run")
    assert done.returncode == 0
    assert "would copy" in done.stdout
    assert not (tmp_path / "x.db").exists()
    sign_up(shared.url)
    done = shared.run("central", "copy", "--to", "http://127.0.0.1:9/?namespace=x")
    assert done.returncode == 4, done.stderr
    assert shared.run("central", "reopen").returncode == 0
    sign_up(shared.url)


def _wait_until(is_so: Callable[[], bool], limit_s: float = 60.0) -> None:
    until = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)
