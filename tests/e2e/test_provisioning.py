"""Sign-up to database, on the running service: many at once, with the provider failing, and killed on the way."""

import json
import random
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from testbed.servers import ROOT, Service

from tests.e2e.people import Person, run_sql, sign_up

HEAD = len(list((ROOT / "schema_registry/bahar").glob("*.sql")))
_KILLS = 6


@pytest.fixture
def own_service(tmp_path: Path) -> Service:
    """One that the test may kill and starve."""
    return Service(tmp_path / "own")


def database_files(service: Service) -> list[str]:
    return sorted(path.stem for path in service.data_dir.glob("tenants/**/*.db"))


def leftovers(service: Service) -> list[str]:
    """After a restart: files that are neither a database nor one of SQLite's own beside it."""
    known = (".db", ".db-wal", ".db-shm", ".lock")
    return [
        path.name for path in service.data_dir.glob("tenants/**/*") if path.is_file() and not path.name.endswith(known)
    ]


def tenants(service: Service) -> list[dict[str, object]]:
    listed = service.run("tenants", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return [json.loads(line) for line in listed.stdout.splitlines()]


def test_ten_who_sign_up_at_once_get_one_database_each(service: Service) -> None:
    before = database_files(service)
    with ThreadPoolExecutor(10) as pool:
        people = list(pool.map(lambda number: sign_up(service.url, f"ten{number}@example.com"), range(10)))
        found = list(pool.map(Person.credentials, people))
    assert len({credentials["db_name"] for credentials in found}) == 10
    assert {credentials["schema_version"] for credentials in found} == {HEAD}
    assert sorted(set(database_files(service)) - set(before)) == sorted(c["db_name"] for c in found)
    for credentials in found:
        rows = run_sql(credentials, "SELECT count(*), max(version) FROM freehold_ledger")
        assert rows == [[str(HEAD), str(HEAD)]]


def test_fifty_sign_ups_of_one_address_make_one_user_with_one_database(service: Service) -> None:
    body = {"name": "Same", "email": "same@example.com", "password": "correct-horse-1"}

    def attempt(_number: int) -> int:
        return httpx.post(f"{service.url}/api/auth/sign-up/email", json=body, timeout=60).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(attempt, range(50)))
    assert sorted(set(statuses)) == [200, 422]
    assert statuses.count(200) == 1
    with sqlite3.connect(service.data_dir / "central.db") as db:
        users = db.execute("SELECT id FROM user WHERE email = 'same@example.com'").fetchall()
        assert len(users) == 1
        assert db.execute("SELECT count(*) FROM tenant WHERE user_id = ?", users[0]).fetchone() == (1,)


def test_sign_up_works_while_the_provider_fails_and_the_database_follows(own_service: Service) -> None:
    own_service.data_dir.mkdir(parents=True)
    in_the_way = own_service.data_dir / "tenants"
    in_the_way.write_text("a file where the folder should be")
    own_service.start()
    try:
        person = sign_up(own_service.url)
        until = time.monotonic() + 10
        while (reply := httpx.get(f"{own_service.url}/databases/user", headers=person.headers)).json()[
            "status"
        ] != "failed":
            assert time.monotonic() < until, reply.text
            time.sleep(0.1)
        assert reply.status_code == 202
        assert int(reply.headers["retry-after"]) > 0
        assert str(own_service.data_dir) not in reply.text
        [tenant] = tenants(own_service)
        assert tenant["error"], "an operator must see why"
        assert httpx.get(f"{own_service.url}/ready").status_code == 503
        assert httpx.get(f"{own_service.url}/health").status_code == 200

        in_the_way.unlink()
        assert person.credentials(within_s=60)["schema_version"] == HEAD
        until = time.monotonic() + 10  # bad news holds for a moment
        while httpx.get(f"{own_service.url}/ready").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        own_service.stop()


@pytest.mark.timeout(180)
def test_a_service_killed_again_and_again_loses_nobody(own_service: Service) -> None:
    """SIGKILL at random moments under a stream of sign-ups; whoever was told 200 must be there, with one database."""
    chance = random.Random(20)
    people: list[Person] = []
    own_service.start()
    stopping = threading.Event()

    def keep_signing_up() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            try:
                people.append(sign_up(own_service.url, f"kill{number}@example.com"))
            except httpx.TransportError:
                time.sleep(0.05)

    crowd = threading.Thread(target=keep_signing_up)
    crowd.start()
    try:
        for kills in range(_KILLS):
            until = time.monotonic() + 20
            while len(people) <= kills:  # a busy machine needs longer for each of them
                assert time.monotonic() < until
                time.sleep(0.02)
            time.sleep(chance.uniform(0.1, 0.8))
            own_service.kill()
            own_service.start()
    finally:
        stopping.set()
        crowd.join()
    try:
        assert len(people) >= _KILLS
        found = {person.credentials(within_s=60)["db_name"] for person in people}
        assert len(found) == len(people)
        # Somebody whose answer was lost with the connection is a user all the same, and has a database too.
        until = time.monotonic() + 60
        while any(tenant["state"] != "ready" for tenant in tenants(own_service)):
            assert time.monotonic() < until, tenants(own_service)
            time.sleep(0.2)
        names = [str(tenant["database_name"]) for tenant in tenants(own_service)]
        assert sorted(names) == database_files(own_service)
        assert found <= set(names)
        assert leftovers(own_service) == []
        with sqlite3.connect(own_service.data_dir / "central.db") as db:
            [(users,)] = db.execute("SELECT count(*) FROM user")
            assert users == len(names)
        for person in people:
            rows = run_sql(person.credentials(), "SELECT count(*), max(version) FROM freehold_ledger")
            assert rows == [[str(HEAD), str(HEAD)]]
    finally:
        own_service.stop()


def test_a_stopped_service_ends_in_good_order(own_service: Service) -> None:
    own_service.start()
    sign_up(own_service.url).credentials()
    assert own_service.stop() == 0
    assert "Traceback" not in own_service.log()
