"""`/ready` is accurate: a busy tenant does not turn it into a 503, what has stopped does not leave it at 200."""

import contextlib
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from testbed.servers import Service

from tests.e2e.people import PASSWORD

ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
SHORT = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 700000) SELECT count(*) FROM r"


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path).start()
    yield running
    running.stop()


def _ready(service: Service) -> httpx.Response:
    return httpx.get(f"{service.url}/ready", timeout=100)


def _becomes(service: Service, status: int, within_s: float = 30) -> httpx.Response:
    until = time.monotonic() + within_s
    while (reply := _ready(service)).status_code != status:
        assert time.monotonic() < until, reply.text
        time.sleep(0.2)
    return reply


def _guest(service: Service) -> tuple[str, str]:
    """The URL of a new guest's database, and a token for it."""
    token = httpx.post(f"{service.url}/api/auth/sign-in/anonymous", timeout=30).json()["token"]
    until = time.monotonic() + 60
    while True:
        headers = {"authorization": f"Bearer {token}"}
        reply = httpx.get(f"{service.url}/databases/user", headers=headers, timeout=30)
        if reply.status_code == 200:
            return reply.json()["url"], reply.json()["access_token"]
        assert time.monotonic() < until, reply.text
        time.sleep(0.1)


@contextlib.contextmanager
def _busy(guests: list[tuple[str, str]], sql: str, each: int) -> Iterator[None]:
    """Each of these runs the statement so many times at once, again and again."""
    body = json.dumps({"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]})
    over = threading.Event()

    def run(url: str, token: str) -> None:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        with httpx.Client(timeout=40, headers=headers) as client:
            while not over.is_set():
                with contextlib.suppress(httpx.TransportError):
                    if client.post(f"{url}v3/pipeline", content=body).status_code != 200:
                        over.wait(0.2)

    threads = [threading.Thread(target=run, args=guest) for guest in guests for _ in range(each)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("sql", "guests", "each"), [(ENDLESS, 20, 8), (SHORT, 8, 4)], ids=["endless statements", "short ones"]
)
def test_tenants_that_keep_all_cores_busy_leave_it_ready(
    own_service: Service, sql: str, guests: int, each: int
) -> None:
    callers = [_guest(own_service) for _ in range(guests)]
    answers: Counter[int] = Counter()
    with _busy(callers, sql, each):
        until = time.monotonic() + 12
        while time.monotonic() < until:
            answers[_ready(own_service).status_code] += 1
            time.sleep(0.1)
    assert set(answers) == {200}, answers
    assert _ready(own_service).json() == {"status": "ready"}


def test_a_central_database_that_somebody_keeps_locked_is_told(own_service: Service) -> None:
    _becomes(own_service, 200)
    file = sqlite3.connect(own_service.data_dir / "central.db", isolation_level=None, timeout=20)
    with contextlib.closing(file):
        file.execute("BEGIN EXCLUSIVE")
        reply = _becomes(own_service, 503)
        assert int(reply.headers["retry-after"]) > 0
        assert "central database" in reply.json()["detail"]
        file.execute("ROLLBACK")
    _becomes(own_service, 200)


def test_a_central_database_that_was_moved_away_is_told(own_service: Service, tmp_path: Path) -> None:
    _becomes(own_service, 200)
    done = own_service.run("central", "copy", "--to", f"sqlite:///{tmp_path / 'moved.db'}")
    assert done.returncode == 0, done.stderr
    reply = _becomes(own_service, 503)
    assert "was moved" in reply.json()["detail"]
    body = {"name": "A", "email": "late@example.com", "password": PASSWORD}
    late = httpx.post(f"{own_service.url}/api/auth/sign-up/email", json=body, timeout=30)
    assert (late.status_code, "was moved" in late.text) == (503, True)
    assert own_service.run("central", "reopen", "--yes").returncode == 0
    _becomes(own_service, 200)


@pytest.mark.parametrize("name", ["central.db", "tenants"])
def test_what_is_gone_from_the_disk_is_told(own_service: Service, name: str) -> None:
    _becomes(own_service, 200)
    there, elsewhere = own_service.data_dir / name, own_service.data_dir / "elsewhere"
    there.rename(elsewhere)
    reply = _becomes(own_service, 503)
    assert str(own_service.data_dir) not in reply.text
    if name == "tenants":
        there.mkdir(mode=0o700)  # as the place of a disk that is not mounted
        time.sleep(1.5)
        assert _ready(own_service).status_code == 503
        there.rmdir()
    assert not there.exists(), "nothing is made in its place"
    elsewhere.rename(there)
    _becomes(own_service, 200)
    body = {"name": "A", "email": "after@example.com", "password": PASSWORD}
    assert httpx.post(f"{own_service.url}/api/auth/sign-up/email", json=body, timeout=30).status_code == 200


def test_many_who_ask_cost_no_more_than_one(own_service: Service) -> None:
    drafts = own_service.data_dir / "tenants"
    before = drafts.stat().st_mtime_ns
    with httpx.Client(timeout=30) as client:
        began = time.monotonic()
        for _ in range(300):
            assert client.get(f"{own_service.url}/ready").status_code == 200
        took_s = time.monotonic() - began
    assert before <= drafts.stat().st_mtime_ns
    assert took_s < 30
