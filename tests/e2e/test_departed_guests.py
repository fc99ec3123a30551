"""Guests who never come back go after a time, with their database; nobody else does."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from testbed.servers import Service

from tests.e2e.people import PASSWORD, Person, sign_up

LONG_AGO = "2020-01-01T00:00:00.000Z"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path, GUEST_DAYS="7").start()
    yield running
    running.stop()


def _guest(service: Service) -> Person:
    found = httpx.post(f"{service.url}/api/auth/sign-in/anonymous", timeout=30).json()
    person = Person(service.url, found["user"]["email"], found["user"]["id"], found["token"])
    person.credentials()
    return person


def _age(service: Service, *people: Person, sessions: bool = True, users: bool = True) -> None:
    """As if they had done nothing since long ago."""
    with closing(sqlite3.connect(service.data_dir / "central.db", timeout=20)) as db, db:
        for person in people:
            if users:
                db.execute("UPDATE user SET createdAt = ?1, updatedAt = ?1 WHERE id = ?2", (LONG_AGO, person.user_id))
            db.execute(
                "UPDATE apikey SET createdAt = ?1, updatedAt = ?1 WHERE referenceId = ?2", (LONG_AGO, person.user_id)
            )
            if sessions:
                db.execute(
                    "UPDATE session SET expiresAt = ?1, createdAt = ?1, updatedAt = ?1 WHERE userId = ?2",
                    (LONG_AGO, person.user_id),
                )


def _ids(service: Service) -> set[str]:
    with closing(sqlite3.connect(f"file:{service.data_dir / 'central.db'}?mode=ro", uri=True)) as db:
        return {row[0] for row in db.execute("SELECT id FROM user")}


def _files(service: Service) -> int:
    return len(list((service.data_dir / "tenants").glob("??/??/*.db")))


def _until(what: str, is_so: object) -> None:
    until = time.monotonic() + 30
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < until, what
        time.sleep(0.2)


def _post(person: Person, path: str, body: dict[str, str]) -> httpx.Response:
    reply = httpx.post(f"{person.url}/api/auth/{path}", json=body, headers=person.headers, timeout=30)
    assert reply.status_code == 200, reply.text
    return reply


@pytest.mark.timeout(180)
def test_who_cannot_come_back_goes_and_everybody_else_stays(service: Service) -> None:
    gone = [_guest(service) for _ in range(3)]
    comes, new, grown, linked, with_key = (_guest(service) for _ in range(5))
    user = sign_up(service.url)
    user.credentials()
    _post(grown, "sign-up/email", {"name": "A", "email": "grown@example.com", "password": PASSWORD})
    _post(linked, "sign-in/email", {"email": user.email, "password": PASSWORD})
    key = _post(with_key, "api-key/create", {"name": "mine"}).json()["key"]
    service.stop()
    _age(service, *gone, grown, user, with_key, linked)
    _age(service, comes, sessions=False)
    _age(service, new, sessions=True, users=False)
    with closing(sqlite3.connect(service.data_dir / "central.db")) as db, db:
        db.execute("UPDATE apikey SET lastRequest = '2999-01-01T00:00:00.000Z'")
    before = _files(service)
    service.start()
    departed = {person.user_id for person in gone}
    _until("they go", lambda: not departed & _ids(service))
    _until("their databases go", lambda: _files(service) == before - 3)
    assert {each.user_id for each in (comes, new, grown, linked, with_key, user)} <= _ids(service)
    assert comes.credentials()["status"] == "ready"
    reply = httpx.get(f"{service.url}/databases/user", headers={"x-api-key": key}, timeout=30)
    assert reply.status_code == 200, reply.text
    trail = service.run("audit", "list", "--action", "user.removed", "--json")
    assert trail.returncode == 0, trail.stderr
    for user_id in departed:
        assert f"user:{user_id}" in trail.stdout
    assert trail.stdout.count("departed") == 3
    # Whoever still has the old token is nobody, and may begin again.
    old = httpx.get(f"{service.url}/api/auth/get-session", headers=gone[0].headers, timeout=30)
    assert old.json() is None


@pytest.mark.timeout(120)
def test_with_no_days_set_everybody_stays(tmp_path: Path) -> None:
    service = Service(tmp_path, GUEST_DAYS="0").start()
    try:
        guest = _guest(service)
        service.stop()
        _age(service, guest)
        service.start()
        time.sleep(4)
        assert guest.user_id in _ids(service)
    finally:
        service.stop()


@pytest.mark.timeout(180)
def test_many_go_in_batches(service: Service) -> None:
    guests = [
        httpx.post(f"{service.url}/api/auth/sign-in/anonymous", timeout=30).json()["user"]["id"] for _ in range(120)
    ]
    service.stop()
    with closing(sqlite3.connect(service.data_dir / "central.db")) as db, db:
        db.execute("UPDATE user SET createdAt = ?1, updatedAt = ?1", (LONG_AGO,))
        db.execute("UPDATE session SET expiresAt = ?1, updatedAt = ?1", (LONG_AGO,))
    service.start()
    _until("all go", lambda: not set(guests) & _ids(service))
