"""Rate limits of the running service: better-auth's answers, the API's, and two processes that share a Redis."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from testbed.redis import running_redis
from testbed.servers import Service

from tests.e2e.people import PASSWORD, sign_up

_AUTH_PATH = "/api/auth/sign-in/email"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the limits as they are by default, behind a proxy."""
    folder = tmp_path_factory.mktemp("limited")
    running = Service(folder, RATE_LIMITS="on", TRUSTED_PROXIES="127.0.0.1", RATE_LIMIT_API="5/600").start()
    yield running
    running.stop()


def _from(address: str, **headers: str) -> dict[str, str]:
    return {"x-forwarded-for": address, **headers}


def _sign_in(url: str, address: str, email: str = "nobody@example.com") -> httpx.Response:
    body = {"email": email, "password": "wrong-password-1"}
    return httpx.post(f"{url}{_AUTH_PATH}", json=body, headers=_from(address), timeout=30)


def test_the_fourth_sign_in_is_answered_as_better_auth_does(limited: Service) -> None:
    replies = [_sign_in(limited.url, "198.51.100.1") for _ in range(4)]
    assert [reply.status_code for reply in replies] == [401, 401, 401, 429]
    refused = replies[3]
    assert refused.json() == {"message": "Too many requests. Please try again later."}
    assert 1 <= int(refused.headers["x-retry-after"]) <= 10
    assert refused.headers["retry-after"] == refused.headers["x-retry-after"]
    assert refused.headers["content-type"] == "application/json"
    # Draft of the IETF: what the limit is, and what is left of it.
    assert replies[0].headers["ratelimit-policy"] == '"sign-in";q=3;w=10'
    assert replies[0].headers["ratelimit"].startswith('"sign-in";r=2;t=')
    assert refused.headers["ratelimit"].startswith('"sign-in";r=0;t=')

    body = {"name": "x", "email": "rl@example.com", "password": PASSWORD}
    other_path = httpx.post(
        f"{limited.url}/api/auth/sign-up/email", json=body, headers=_from("198.51.100.1"), timeout=30
    )
    assert other_path.status_code == 200
    assert _sign_in(limited.url, "198.51.100.2").status_code == 401, "another address counts for itself"


def test_the_101st_of_other_requests_is_refused(limited: Service) -> None:
    with httpx.Client(base_url=limited.url, headers=_from("198.51.100.3"), timeout=30) as http:
        statuses = Counter(http.get("/api/auth/get-session").status_code for _ in range(130))
    assert statuses[200] >= 100  # the window may end meanwhile on a slow machine
    assert statuses[429] > 0 or statuses[200] == 130


def test_a_stranger_cannot_choose_an_address(tmp_path: Path) -> None:
    service = Service(tmp_path, RATE_LIMITS="on", RATE_LIMIT_SIGN_IN="3/600").start()
    try:
        replies = [_sign_in(service.url, f"198.51.100.{number}") for number in range(4)]
        assert [reply.status_code for reply in replies] == [401, 401, 401, 429]
        spelt_otherwise = httpx.post(f"{service.url}/api/auth//sign-in//email", json={}, timeout=30)
        assert spelt_otherwise.status_code in {404, 429}
    finally:
        service.stop()


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Three sign-ins for each address, as its proxy tells it."""
    folder = tmp_path_factory.mktemp("behind")
    limits = {"RATE_LIMITS": "on", "RATE_LIMIT_SIGN_IN": "3/600"}
    running = Service(folder, TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8", **limits).start()
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("lines", "clients"),
    [
        (["198.51.100.{n}", "{client}"], ["203.0.113.1", "203.0.113.2"]),
        (["198.51.100.{n}", "198.51.100.{n}, {client}, 10.0.0.1", "10.0.0.2"], ["203.0.113.3", "203.0.113.4"]),
        (["{client}:4{n}"], ["203.0.113.5", "203.0.113.6"]),
        (["[{client}]:4{n}, 10.0.0.1:80"], ["2001:db8:1::1", "2001:db8:2::1"]),
        (["198.51.100.{n}", "::ffff:{client}"], ["203.0.113.7", "203.0.113.8"]),
    ],
    ids=["two lines", "over two proxies", "with its port", "IPv6 with its port", "IPv4 as IPv6"],
)
def test_a_client_is_whom_the_farthest_of_our_proxies_saw_in_whatever_form(
    behind_proxy: Service, lines: list[str], clients: list[str]
) -> None:
    """What the client itself wrote stands to the left of that, and is another with each request."""
    body = {"email": "nobody@example.com", "password": "wrong-password-1"}

    def sign_in(client: str, number: int) -> int:
        headers = [("x-forwarded-for", line.format(n=number, client=client)) for line in lines]
        url = f"{behind_proxy.url}{_AUTH_PATH}"
        return httpx.post(url, json=body, headers=headers, timeout=30).status_code

    one, other = clients
    assert [sign_in(one, number) for number in range(4)] == [401, 401, 401, 429]
    assert sign_in(other, 9) == 401, "another client counts for itself"


def test_whoever_has_a_whole_site_of_ipv6_networks_does_no_more_than_sixteen_of_them(tmp_path: Path) -> None:
    service = Service(
        tmp_path,
        RATE_LIMITS="on",
        TRUSTED_PROXIES="127.0.0.1",
        RATE_LIMIT_SIGN_IN="2/600",
        RATE_LIMIT_MAIL="1/600",
        RATE_LIMIT_NEW_DATABASES="1/600",
    ).start()

    def ask(site: int, network: int, path: str, **body: str) -> int:
        address = f"2001:db8:{site}:{network:x}::1"
        reply = httpx.post(f"{service.url}/api/auth/{path}", json=body, headers=_from(address), timeout=30)
        return reply.status_code

    code = {"email": "nobody@example.com", "type": "sign-in", "otp": "000000"}
    try:
        # New databases: one for each network, sixteen for the site.
        made = [ask(1, network, "sign-in/anonymous") for network in range(20)]
        assert made == [200] * 16 + [429] * 4
        assert ask(2, 1, "sign-in/anonymous") == 200, "another site counts for itself"
        # Signing in, and guessing codes, which need no room for a database.
        tried = [ask(3, network, "sign-in/email", email="x", password="y") for network in range(34)]
        assert tried[31] != 429
        assert tried[32:] == [429, 429]
        tried = [ask(4, network, "email-otp/check-verification-otp", **code) for network in range(17)]
        assert (tried[15] == 429, tried[16]) == (False, 429)
        # What is not costly is counted for each network alone, and IPv4 knows no sites.
        for network in range(20):
            headers = _from(f"2001:db8:5:{network:x}::1")
            assert httpx.get(f"{service.url}/api/auth/get-session", headers=headers).status_code == 200
        for number in range(20):
            reply = httpx.post(
                f"{service.url}/api/auth/sign-in/anonymous", headers=_from(f"198.51.100.{number}"), timeout=30
            )
            assert reply.status_code == 200
    finally:
        service.stop()


def test_a_user_has_so_many_calls_of_the_api_wherever_they_are(limited: Service) -> None:
    body = {"name": "A", "email": "api@example.com", "password": PASSWORD}
    reply = httpx.post(f"{limited.url}/api/auth/sign-up/email", json=body, headers=_from("198.51.100.10"), timeout=30)
    bearer = f"Bearer {reply.json()['token']}"
    replies = [
        httpx.get(
            f"{limited.url}/databases/user",
            headers=_from(f"198.51.100.{20 + number}", authorization=bearer),
            timeout=30,
        )
        for number in range(6)
    ]
    assert {reply.status_code for reply in replies[:5]} <= {200, 202}
    refused = replies[5]
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 600
    assert '"user";q=5;w=600' in replies[0].headers["ratelimit-policy"]
    assert '"api";q=1000;w=60' in replies[0].headers["ratelimit-policy"]

    anonymous = httpx.get(f"{limited.url}/databases/user", headers=_from("198.51.100.20"), timeout=30)
    assert anonymous.status_code == 401, "others are not held to it"


def test_health_and_databases_are_not_limited(limited: Service) -> None:
    health = httpx.get(f"{limited.url}/health", headers=_from("198.51.100.4"))
    assert "ratelimit" not in health.headers
    tenant = httpx.post(f"{limited.url}/db/none/v3/pipeline", headers=_from("198.51.100.4"), json={})
    assert (tenant.status_code, "ratelimit" in tenant.headers) == (401, False)


def test_a_refused_page_of_a_front_end_may_read_why(limited: Service) -> None:
    origin = {"origin": limited.url}
    for _ in range(4):
        reply = httpx.post(
            f"{limited.url}{_AUTH_PATH}",
            json={"email": "a@example.com", "password": "wrong-password-1"},
            headers=_from("198.51.100.5", **origin),
            timeout=30,
        )
    assert reply.status_code == 429
    assert reply.headers["access-control-allow-origin"] == limited.url
    assert "x-retry-after" in reply.headers["access-control-expose-headers"]


async def test_two_processes_count_together(tmp_path: Path) -> None:
    with running_redis() as redis:
        variables = {
            "RATE_LIMITS": "on",
            "RATE_LIMIT_SIGN_IN": "5/600",
            "TRUSTED_PROXIES": "127.0.0.1",
            **redis.variables,
        }
        services = [Service(tmp_path / name, **variables).start() for name in ("one", "two")]
        try:
            async with httpx.AsyncClient(timeout=60, headers=_from("198.51.100.7")) as http:
                body = {"email": "nobody@example.com", "password": "wrong-password-1"}
                replies = await asyncio.gather(
                    *(http.post(f"{services[n % 2].url}{_AUTH_PATH}", json=body) for n in range(24))
                )
            counted = Counter(reply.status_code for reply in replies)
            assert counted == {401: 5, 429: 19}
            assert redis.run("GET", "better-auth:198.51.100.7|/sign-in/email") == "24"
            assert 0 < redis.run("TTL", "better-auth:198.51.100.7|/sign-in/email") <= 600

            # Without Redis there is a limit still: each process has its own.
            redis.kill_redis()
            alone = [_sign_in(services[0].url, "198.51.100.8").status_code for _ in range(7)]
            assert alone == [401] * 5 + [429] * 2
        finally:
            for service in services:
                service.stop()


def test_people_sign_up_as_before_when_limits_are_off(service: Service) -> None:
    for _ in range(5):
        sign_up(service.url)
