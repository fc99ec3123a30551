"""`/metrics`: what is counted, that strangers' paths make no rows, and who may read it."""

import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from testbed.redis import running_redis
from testbed.servers import Service

from freehold.http.middleware.request_log import BOUNDS_S, RequestCounts, route_class
from tests.e2e.people import sign_up

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(service: Service, **headers: str) -> Samples:
    reply = httpx.get(f"{service.url}/metrics", headers=headers, timeout=30)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(reply.text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def test_requests_are_counted_by_class_and_status(service: Service) -> None:
    before = read(service)
    person = sign_up(service.url)
    for _ in range(3):
        httpx.get(f"{service.url}/api/auth/get-session", headers=person.headers)
    httpx.get(f"{service.url}/databases/user")
    after = read(service)

    def more(**labels: str) -> float:
        name = "freehold_http_requests_total"
        return value(after, name, **labels) - value(before, name, **labels)

    assert more(**{"class": "sign-in", "status": "200"}) == 1
    assert more(**{"class": "get-session", "status": "200"}) == 3
    assert more(**{"class": "credentials", "status": "401"}) == 1
    name = "freehold_http_request_seconds"
    assert value(after, f"{name}_count", **{"class": "get-session"}) == 3
    assert value(after, f"{name}_bucket", **{"class": "get-session", "le": "+Inf"}) == 3
    assert 0 < value(after, f"{name}_sum", **{"class": "get-session"}) < 30
    assert value(after, "freehold_sessions_in_memory") >= 1
    assert value(after, "process_resident_memory_bytes") > 0


def test_tenants_are_counted_by_state(service: Service) -> None:
    for person in [sign_up(service.url) for _ in range(2)]:
        person.credentials()
    until = time.monotonic() + 30
    while value(read(service), "freehold_tenants", state="ready") < 2:  # they are counted every few seconds
        assert time.monotonic() < until
        time.sleep(0.2)
    assert value(read(service), "freehold_central_up") == 1


def test_strangers_make_no_rows_and_find_no_names(service: Service) -> None:
    person = sign_up(service.url)
    for number in range(20):
        httpx.get(f"{service.url}/made-up-{number}/x?token={person.token}")
        httpx.get(f"{service.url}/db/made-up-{number}/v3")
    text = httpx.get(f"{service.url}/metrics").text
    assert "made-up" not in text
    assert person.token not in text
    assert person.email not in text
    assert text.count("\n") < 500


def test_only_this_machine_reads_it_and_no_proxy_on_it(service: Service) -> None:
    for name in ("x-forwarded-for", "forwarded", "x-real-ip", "via"):
        reply = httpx.get(f"{service.url}/metrics", headers={name: "127.0.0.1"})
        assert reply.status_code == 403
        assert "freehold_http" not in reply.text


def test_with_a_token_only_who_has_it(tmp_path: Path) -> None:
    service = Service(tmp_path, METRICS_TOKEN="a-token-for-metrics").start()
    try:
        forwarded = {"x-forwarded-for": "203.0.113.1"}
        assert read(service, authorization="Bearer a-token-for-metrics", **forwarded)
        for authorization in ("", "Bearer", "Bearer wrong", "a-token-for-metrics", "Basic a-token-for-metrics"):
            reply = httpx.get(f"{service.url}/metrics", headers={"authorization": authorization})
            assert reply.status_code == 401
        assert "a-token-for-metrics" not in service.log()
    finally:
        service.stop()


def test_refusals_and_the_cache_are_told(tmp_path: Path) -> None:
    with running_redis() as redis:
        service = Service(tmp_path, RATE_LIMITS="on", RATE_LIMIT_SIGN_IN="1/600", **redis.variables).start()
        try:
            for _ in range(3):
                httpx.post(f"{service.url}/api/auth/sign-in/email", json={}, timeout=30)
            samples = read(service)
            assert value(samples, "freehold_rate_limit_refusals_total", limit="sign-in") == 2
            assert value(samples, "freehold_cache_up") == 1
            redis.kill_redis()
            for _ in range(4):
                httpx.get(f"{service.url}/api/auth/get-session", timeout=30)
            samples = read(service)
            assert value(samples, "freehold_cache_up") == 0
            assert value(samples, "freehold_cache_failed_commands_total") >= 3
        finally:
            service.stop()


def test_every_duration_falls_into_one_bucket() -> None:
    counts = RequestCounts()
    for seconds in (0, 0.001, 0.0011, 10.0, 10.1, 1e9):
        counts.note("/", 200, seconds)
    assert counts.buckets["other"] == [2, 1, *[0] * (len(BOUNDS_S) - 3), 1, 2]
    assert sum(counts.buckets["other"]) == counts.statuses["other", 200]


@pytest.mark.parametrize(
    ("path", "name"),
    [("/db/x/v3", "database"), ("/dbx", "other"), ("/api/auth", "auth"), ("/api/auth/sign-in/email", "sign-in")],
)
def test_paths_have_a_class(path: str, name: str) -> None:
    assert route_class(path) == name
