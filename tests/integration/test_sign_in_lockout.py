"""Wrong passwords at the running service: the sixth waits, whoever exists, and a restart forgets nothing."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from testbed.servers import Service

from tests.e2e.people import PASSWORD, sign_up


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service behind a proxy, so that tests come from where they say."""
    running = Service(tmp_path_factory.mktemp("behind"), TRUSTED_PROXIES="127.0.0.1").start()
    yield running
    running.stop()


def sign_in(
    service: Service, email: str, password: str = "wrong-horse-1", source: str = "198.51.100.1"
) -> httpx.Response:
    return httpx.post(
        f"{service.url}/api/auth/sign-in/email",
        json={"email": email, "password": password},
        headers={"x-forwarded-for": source},
        timeout=60,
    )


def move_back(service: Service, seconds: int) -> None:
    """Let time pass: all that was noted of wrong passwords happened that much earlier."""
    with sqlite3.connect(service.data_dir / "central.db", isolation_level=None) as db:
        db.execute(
            "UPDATE wrong_password SET failed_at_ms = failed_at_ms - :ms, locked_until_ms = locked_until_ms - :ms",
            {"ms": seconds * 1000},
        )
    db.close()


def test_the_sixth_waits_and_nobody_learns_who_exists(behind: Service) -> None:
    person = sign_up(behind.url)
    answers = {}
    for email in (person.email, "nobody-at-all@example.com"):
        replies = [sign_in(behind, email) for _ in range(6)]
        assert [reply.status_code for reply in replies] == [401] * 5 + [429]
        answers[email] = [
            (reply.status_code, reply.content, sorted(set(reply.headers) - {"x-request-id", "date"}))
            for reply in replies
        ]
        assert 1 <= int(replies[5].headers["x-retry-after"]) <= 15
        assert replies[5].headers["retry-after"] == replies[5].headers["x-retry-after"]
    first, second = answers.values()
    assert first == second

    # The right one is not looked at either, in any spelling of the address; from elsewhere it works.
    assert sign_in(behind, person.email.upper(), PASSWORD).status_code == 429
    assert sign_in(behind, person.email, PASSWORD, source="198.51.100.2").status_code == 200
    move_back(behind, 16)
    assert sign_in(behind, person.email, PASSWORD).status_code == 200
    assert sign_in(behind, person.email).status_code == 401, "and the count is at its start again"


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    service = Service(tmp_path).start()
    try:
        person = sign_up(service.url)
        for _ in range(5):
            assert sign_in(service, person.email).status_code == 401
        service.kill()
        service.start()
        assert sign_in(service, person.email, PASSWORD).status_code == 429
        move_back(service, 16)
        assert sign_in(service, person.email).status_code == 401
        assert 15 < int(sign_in(service, person.email).headers["x-retry-after"]) <= 30
    finally:
        service.stop()


async def test_a_hundred_at_once_are_no_way_around(behind: Service) -> None:
    person = await asyncio.to_thread(sign_up, behind.url)
    async with httpx.AsyncClient(timeout=60, headers={"x-forwarded-for": "198.51.100.9"}) as http:
        body = {"email": person.email, "password": "wrong-horse-1"}
        replies = await asyncio.gather(
            *(http.post(f"{behind.url}/api/auth/sign-in/email", json=body) for _ in range(100))
        )
    assert Counter(reply.status_code for reply in replies) == {401: 5, 429: 95}


def test_the_table_tells_nobody_who_was_tried(behind: Service) -> None:
    sign_in(behind, "somebody@example.com", source="198.51.100.77")
    with sqlite3.connect(behind.data_dir / "central.db", isolation_level=None) as db:
        text = str(db.execute("SELECT * FROM wrong_password").fetchall())
    db.close()
    assert "somebody" not in text
    assert "198.51" not in text
