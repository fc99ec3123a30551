"""Sessions in a shared Redis: better-auth's layout, never outliving a revocation, and no request lost without it."""

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from testbed.redis import Redis, running_redis
from testbed.servers import Service

from tests.e2e.people import PASSWORD, Person, sign_up


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def pair(redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Service]]:
    """Two processes of one installation that share the cache."""
    folder = tmp_path_factory.mktemp("pair")
    one = Service(folder, **redis.variables).start()
    two = Service(folder, BETTER_AUTH_URL=one.url, **redis.variables).start()
    yield one, two
    two.stop()
    one.stop()


def user_of(service: Service, person: Person) -> str | None:
    """Who the service says it is."""
    reply = httpx.get(f"{service.url}/api/auth/get-session", headers=person.headers, timeout=30)
    assert reply.status_code == 200, reply.text
    found = reply.json()
    return found["user"]["id"] if found else None


def sign_out(service: Service, person: Person) -> None:
    reply = httpx.post(f"{service.url}/api/auth/sign-out", headers=person.headers, json={}, timeout=30)
    assert reply.status_code == 200


def sign_in(service: Service, person: Person) -> Person:
    body = {"email": person.email, "password": PASSWORD}
    reply = httpx.post(f"{service.url}/api/auth/sign-in/email", json=body, timeout=30)
    return Person(service.url, person.email, person.user_id, reply.json()["token"])


def wait_for(redis: Redis, key: str, *, is_there: bool) -> None:
    """Copies are written in the background."""
    until = time.monotonic() + 20
    while (redis.run("EXISTS", key) == 1) is not is_there:
        assert time.monotonic() < until, f"{key} is {'absent' if is_there else 'still there'}"
        time.sleep(0.02)


def test_a_sign_in_leaves_what_better_auth_leaves(redis: Redis, pair: tuple[Service, Service]) -> None:
    person = sign_up(pair[0].url)
    key, active = f"better-auth:{person.token}", f"better-auth:active-sessions-{person.user_id}"
    wait_for(redis, active, is_there=True)
    value = json.loads(redis.run("GET", key))
    assert value["session"]["token"] == person.token
    assert value["session"]["userId"] == value["user"]["id"] == person.user_id
    assert value["user"]["email"] == person.email
    assert "impersonatedBy" not in value["session"]
    assert 604_700 < redis.run("TTL", key) <= 604_800

    second = sign_in(pair[1], person)
    wait_for(redis, f"better-auth:{second.token}", is_there=True)
    listed = json.loads(redis.run("GET", active))
    assert [each["token"] for each in listed] == [person.token, second.token]
    assert [each["expiresAt"] for each in listed] == sorted(each["expiresAt"] for each in listed)
    assert 604_700 < redis.run("TTL", active) <= 604_800

    sign_out(pair[0], person)
    wait_for(redis, key, is_there=False)
    assert [each["token"] for each in json.loads(redis.run("GET", active))] == [second.token]
    sign_out(pair[0], second)
    wait_for(redis, active, is_there=False)
    assert not [key for key in redis.names() if person.user_id in key]


def test_a_revocation_counts_at_once_whatever_the_cache_says(redis: Redis, pair: tuple[Service, Service]) -> None:
    for _ in range(5):
        person = sign_up(pair[0].url)
        key = f"better-auth:{person.token}"
        assert user_of(pair[1], person) == person.user_id
        wait_for(redis, key, is_there=True)
        copy = redis.run("GET", key)
        sign_out(pair[0], person)
        redis.run("SET", key, copy)  # as if it had been written late
        for service in pair:
            assert user_of(service, person) is None


def test_a_process_with_an_empty_memory_believes_no_old_copy(redis: Redis, tmp_path: Path) -> None:
    service = Service(tmp_path, **redis.variables).start()
    try:
        gone, kept = sign_up(service.url), sign_up(service.url)
        key = f"better-auth:{gone.token}"
        wait_for(redis, key, is_there=True)
        copy = redis.run("GET", key)
        service.kill()
        with sqlite3.connect(service.data_dir / "central.db", isolation_level=None) as db:
            db.execute('DELETE FROM "session" WHERE token = ?', [gone.token])
        db.close()
        redis.run("SET", key, copy)
        service.start()
        assert user_of(service, gone) is None
        assert user_of(service, kept) == kept.user_id
    finally:
        service.stop()


def test_who_writes_to_the_cache_makes_no_sessions(redis: Redis, pair: tuple[Service, Service]) -> None:
    person = sign_up(pair[0].url)
    key = f"better-auth:{person.token}"
    wait_for(redis, key, is_there=True)
    value = json.loads(redis.run("GET", key))
    token = "f" * 32
    value["session"]["token"] = token
    value["user"]["role"] = "admin"
    forged = Person(pair[0].url, person.email, person.user_id, token)
    for text in (json.dumps(value), json.dumps({"session": value["session"], "user": value["user"]}), "1", "[]"):
        redis.run("SET", f"better-auth:{token}", text)
        for service in pair:
            assert user_of(service, forged) is None


def test_a_change_of_the_user_is_seen_through_the_cache(redis: Redis, pair: tuple[Service, Service]) -> None:
    person = sign_up(pair[0].url)
    for service in pair:
        assert user_of(service, person) == person.user_id
    with sqlite3.connect(pair[0].data_dir / "central.db", isolation_level=None) as db:
        db.execute('UPDATE "user" SET name = ? WHERE id = ?', ["Renamed", person.user_id])
    db.close()
    for service in pair:
        reply = httpx.get(f"{service.url}/api/auth/get-session", headers=person.headers, timeout=30)
        assert reply.json()["user"]["name"] == "Renamed"


async def test_killing_redis_in_the_middle_of_a_load_loses_no_request(tmp_path: Path) -> None:
    with running_redis() as own:
        service = Service(tmp_path, RATE_LIMITS="on", RATE_LIMIT_AUTH="1000000/60", **own.variables).start()
        try:
            people = [await asyncio.to_thread(sign_up, service.url) for _ in range(3)]
            statuses: Counter[object] = Counter()
            stop = asyncio.Event()

            async def ask(http: httpx.AsyncClient, person: Person) -> None:
                while not stop.is_set():
                    reply = await http.get("/api/auth/get-session", headers=person.headers)
                    found = reply.json()
                    statuses[reply.status_code, bool(found) and found["user"]["id"] == person.user_id] += 1

            async with httpx.AsyncClient(base_url=service.url, timeout=30) as http:
                tasks = [asyncio.create_task(ask(http, people[number % 3])) for number in range(12)]
                for act in (own.kill_redis, own.start_redis, own.pause_redis, own.resume_redis, own.kill_front):
                    await _so_many_more(statuses, 150)
                    await asyncio.to_thread(act)
                await _so_many_more(statuses, 300)
                stop.set()
                await asyncio.gather(*tasks)
            assert set(statuses) == {(200, True)}
            sign_out(service, people[0])
            assert user_of(service, people[0]) is None, "and signing out needs no cache"
            assert user_of(service, people[1]) == people[1].user_id
        finally:
            service.stop()


async def _so_many_more(statuses: Counter[object], number: int) -> None:
    wanted = statuses.total() + number
    until = time.monotonic() + 60
    while statuses.total() < wanted:
        assert time.monotonic() < until, f"requests hang: {statuses}"
        await asyncio.sleep(0.02)
