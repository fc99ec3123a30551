"""A service with two processes that serve HTTP is one service for everybody who uses it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.redis import Redis, running_redis
from testbed.servers import Service

from tests.e2e.people import PASSWORD, Person, run_sql, sign_up
from tests.e2e.test_engine_service import counts, parts, send, until

_SIGN_INS = 12


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with running_redis() as server:
        yield server


@pytest.fixture
def service(tmp_path: Path, redis: Redis) -> Iterator[Service]:
    redis.run("FLUSHALL")
    running = Service(tmp_path, HTTP_WORKERS="2", ENGINES="2", DATABASE_TOKEN_PROFILE="full", **redis.variables)
    yield running.start()
    running.stop()


def worker_of(reply: httpx.Response) -> str:
    """Which process answered: the first part of a request's id is its own."""
    return reply.headers["x-request-id"].partition("-")[0]


def on_both(ask: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Answers of both processes, each over a new connection; at least twenty."""
    replies: list[httpx.Response] = []
    while len(replies) < 20 or len({worker_of(each) for each in replies}) < 2:
        replies.append(ask())
        assert len(replies) < 200, "only one of them answers"
    return replies


def get_session(person: Person) -> httpx.Response:
    return httpx.get(f"{person.url}/api/auth/get-session", headers=person.headers, timeout=10)


def test_both_answer_and_one_that_is_killed_is_replaced(service: Service) -> None:
    assert counts(service) == {"parent": 1, "worker": 2, "supervisor": 1, "engine": 2}
    person = sign_up(service.url)
    assert {each.status_code for each in on_both(lambda: get_session(person))} == {200}
    before = parts(service)["worker"]
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(set(parts(service)["worker"]) - {before[0]}) == 2)
    assert before[1] in parts(service)["worker"]
    assert {each.json()["user"]["id"] for each in on_both(lambda: get_session(person))} == {person.user_id}


def test_a_transaction_goes_on_across_both(service: Service) -> None:
    found = sign_up(service.url).credentials()
    run_sql(found, "CREATE TABLE IF NOT EXISTS mine (a)")
    replies = [send(found, "BEGIN")]
    for number in range(40):
        replies.append(send(found, f"INSERT INTO mine VALUES ({number})", baton=replies[-1].json()["baton"]))
        assert replies[-1].status_code == 200, replies[-1].text
        assert replies[-1].json()["results"][0]["type"] == "ok"
    assert len({worker_of(each) for each in replies}) == 2
    end = send(found, "COMMIT", {"type": "close"}, baton=replies[-1].json()["baton"])
    assert end.json()["results"][0]["type"] == "ok"
    assert run_sql(found, "SELECT count(*) FROM mine") == [["40"]]


def test_whoever_signs_out_is_signed_out_everywhere_at_once(service: Service) -> None:
    for _ in range(5):
        person = sign_up(service.url)
        assert {each.status_code for each in on_both(lambda person=person: get_session(person))} == {200}  # type: ignore[misc]
        origin = {"origin": service.url}
        left = httpx.post(f"{service.url}/api/auth/sign-out", headers={**person.headers, **origin}, json={}, timeout=10)
        assert left.status_code == 200, left.text
        assert {each.text for each in on_both(lambda person=person: get_session(person))} == {"null"}  # type: ignore[misc]


def test_wrong_passwords_are_counted_together_even_at_the_same_time(service: Service) -> None:
    person = sign_up(service.url)

    def guess(number: int) -> httpx.Response:
        body = {"email": person.email, "password": f"wrong-horse-{number}"}
        return httpx.post(f"{service.url}/api/auth/sign-in/email", json=body, timeout=60)

    with ThreadPoolExecutor(24) as at_once:
        replies = list(at_once.map(guess, range(24)))
    assert len({worker_of(each) for each in replies}) == 2
    assert sorted(each.status_code for each in replies) == [401] * 5 + [429] * 19
    right = {"email": person.email, "password": PASSWORD}
    assert httpx.post(f"{service.url}/api/auth/sign-in/email", json=right, timeout=60).status_code == 429


def test_a_rate_holds_for_both_together(tmp_path: Path, redis: Redis) -> None:
    redis.run("FLUSHALL")
    limits = {"RATE_LIMITS": "on", "RATE_LIMIT_SIGN_IN": f"{_SIGN_INS}/600"}
    service = Service(tmp_path, HTTP_WORKERS="2", ENGINES="1", **limits, **redis.variables).start()
    try:
        body = {"email": "nobody@example.com", "password": "x" * 10}
        replies = []
        for number in range(2 * _SIGN_INS):
            body["email"] = f"nobody{number}@example.com"
            replies.append(httpx.post(f"{service.url}/api/auth/sign-in/email", json=body, timeout=30))
        assert len({worker_of(each) for each in replies}) == 2
        assert [each.status_code for each in replies] == [401] * _SIGN_INS + [429] * _SIGN_INS
    finally:
        service.stop()


def test_metrics_are_those_of_both_and_survive_one(service: Service) -> None:
    asked = [httpx.get(f"{service.url}/databases/user", timeout=10) for _ in range(60)]
    assert len({worker_of(each) for each in asked}) == 2
    until(lambda: all(_refused(each) == 60 for each in on_both(lambda: _metrics(service))))
    before = parts(service)["worker"]
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(set(parts(service)["worker"]) - {before[0]}) == 2)
    until(lambda: all(_refused(each) == 60 for each in on_both(lambda: _metrics(service))))
    resident = _value(_metrics(service).text, "process_resident_memory_bytes ")
    assert resident > 60_000_000, "of one process only"


def _metrics(service: Service) -> httpx.Response:
    while True:  # also while one of them starts again
        try:
            return httpx.get(f"{service.url}/metrics", timeout=10)
        except httpx.HTTPError:
            time.sleep(0.05)


def _refused(reply: httpx.Response) -> float:
    return _value(reply.text, 'freehold_http_requests_total{class="credentials",status="401"} ')


def _value(text: str, start: str) -> float:
    return next((float(line.removeprefix(start)) for line in text.splitlines() if line.startswith(start)), 0.0)


def test_it_does_not_start_on_a_port_that_another_service_has(service: Service, tmp_path: Path) -> None:
    variables: dict[str, Any] = {"DATA_DIR": str(tmp_path / "other"), "PORT": str(service.port)}
    refused = service.run("serve", **variables)
    assert refused.returncode == 3
    assert f"PORT: {service.port} is in use" in refused.stderr
