"""A database token ends with the session it was handed out to: at once, whoever ends that, and wherever."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from testbed.servers import Service
from testbed.sqld import Sqld, running_sqld
from testbed.sqld_service import sqld_variables

from tests.e2e.people import PASSWORD, Person, sign_up

_SELECT = {"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1"}}, {"type": "close"}]}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Service]]:
    """Two processes of one installation."""
    folder = tmp_path_factory.mktemp("pair")
    one = Service(folder).start()
    two = Service(folder, BETTER_AUTH_URL=one.url).start()
    yield one, two
    two.stop()
    one.stop()


def ask(url: str, token: str) -> httpx.Response:
    return httpx.post(f"{url}v3/pipeline", headers={"authorization": f"Bearer {token}"}, json=_SELECT, timeout=30)


def urls(pair: tuple[Service, Service], person: Person) -> tuple[list[str], str]:
    """The person's database at both processes, and a token that both take."""
    found = person.credentials()
    name = found["db_name"]
    both = [f"{service.url}/db/{name}/" for service in pair]
    for url in both:
        assert ask(url, found["access_token"]).status_code == 200
    return both, found["access_token"]


def sign_in(url: str, email: str) -> Person:
    reply = httpx.post(f"{url}/api/auth/sign-in/email", json={"email": email, "password": PASSWORD}, timeout=30)
    assert reply.status_code == 200, reply.text
    return Person(url, email, reply.json()["user"]["id"], reply.json()["token"])


def sign_out(url: str, person: Person) -> None:
    reply = httpx.post(f"{url}/api/auth/sign-out", headers=person.headers, json={}, timeout=30)
    assert reply.status_code == 200


def refused(reply: httpx.Response) -> None:
    assert reply.status_code == 401, reply.text
    assert reply.json()["code"] == "BAD_DATABASE_TOKEN"
    assert "session" in reply.json()["message"]


def test_the_token_names_the_session_and_is_not_its_token(pair: tuple[Service, Service]) -> None:
    person = sign_up(pair[0].url)
    claims: dict[str, Any] = jwt.decode(person.credentials()["access_token"], options={"verify_signature": False})
    session = httpx.get(f"{pair[0].url}/api/auth/get-session", headers=person.headers).json()["session"]
    assert claims["sub"] == f"session:{session['id']}"
    assert person.token not in str(claims)


def test_signing_out_at_one_process_cuts_the_token_at_both(pair: tuple[Service, Service]) -> None:
    person = sign_up(pair[0].url)
    for _ in range(5):
        both, token = urls(pair, person)
        sign_out(pair[1].url, person)
        for url in both:
            refused(ask(url, token))
        person = sign_in(pair[0].url, person.email)


def test_the_other_sessions_of_the_user_go_on(pair: tuple[Service, Service]) -> None:
    phone = sign_up(pair[0].url)
    laptop = sign_in(pair[0].url, phone.email)
    both, phone_token = urls(pair, phone)
    _, laptop_token = urls(pair, laptop)
    sign_out(pair[0].url, phone)
    for url in both:
        refused(ask(url, phone_token))
        assert ask(url, laptop_token).status_code == 200


@pytest.mark.parametrize("sql", ['DELETE FROM "session" WHERE "userId" = ?', 'DELETE FROM "user" WHERE id = ?'])
def test_sql_by_hand_cuts_it_too(pair: tuple[Service, Service], sql: str) -> None:
    person = sign_up(pair[0].url)
    both, token = urls(pair, person)
    with sqlite3.connect(pair[0].data_dir / "central.db", isolation_level=None) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(sql, [person.user_id])
    db.close()
    for url in both:
        refused(ask(url, token))


def test_a_process_that_starts_anew_does_not_believe_it_either(tmp_path: Path) -> None:
    service = Service(tmp_path).start()
    try:
        person = sign_up(service.url)
        found = person.credentials()
        sign_out(service.url, person)
        service.kill()
        service.start()
        refused(ask(f"{service.url}/db/{found['db_name']}/", found["access_token"]))
    finally:
        service.stop()


@pytest.fixture(scope="module")
def sqld() -> Iterator[Sqld]:
    with running_sqld() as server:
        yield server


def test_on_sqld_too_and_for_replicas(tmp_path: Path, sqld: Sqld) -> None:
    service = Service(tmp_path, **sqld_variables(sqld)).start()
    try:
        person = sign_up(service.url)
        found = person.credentials()
        assert ask(found["url"], found["access_token"]).status_code == 200

        def hello() -> httpx.Response:
            return httpx.post(
                f"{service.url}/db/{found['db_name']}/wal_log.ReplicationLog/Hello",
                headers={
                    "authorization": f"Bearer {found['access_token']}",
                    "content-type": "application/grpc-web+proto",
                },
                content=b"\0\0\0\0\0",
                timeout=30,
            )

        assert hello().headers.get("grpc-status", "0") == "0"
        sign_out(service.url, person)
        refused(ask(found["url"], found["access_token"]))
        assert hello().headers["grpc-status"] == "16"
    finally:
        service.stop()


def test_with_the_central_database_on_a_server_the_own_process_knows_at_once(tmp_path: Path, sqld: Sqld) -> None:
    sqld.create("central")
    central = {
        "DATABASE_URL": f"{sqld.url}/?namespace=central",
        "DATABASE_AUTH_TOKEN": sqld.token("central"),
        "BETTER_AUTH_SECRET": "s" * 40,
    }
    one = Service(tmp_path / "one", **central).start()
    try:
        for _ in range(3):
            person = sign_up(one.url)
            found = person.credentials()
            for _ in range(3):
                assert ask(found["url"], found["access_token"]).status_code == 200
            sign_out(one.url, person)
            refused(ask(found["url"], found["access_token"]))
    finally:
        one.stop()
