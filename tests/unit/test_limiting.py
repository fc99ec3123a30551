"""Rates: how they are written, how hits are counted in memory, which path has which."""

import re
from typing import Any

import pytest

from freehold.cache.memory_limiter import MemoryLimiter
from freehold.http.auth.route import Route
from freehold.http.auth.table import ROUTES
from freehold.http.client_address import ClientAddresses
from freehold.http.middleware.rate_limits import Rules
from freehold.limiting import NO_LIMIT, Rate, parse_rate
from freehold.settings.fields import BadSettings, Settings
from freehold.settings.load import load_settings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> MemoryLimiter:
    return MemoryLimiter(clock, capacity=100)


def test_a_rate_is_number_and_seconds_or_off() -> None:
    assert parse_rate("100/60") == Rate(100, 60)
    assert parse_rate("off") == NO_LIMIT
    for text in ("", "100", "0/60", "1/0", "-1/60", "1/60s", "on", "1/60/1"):
        with pytest.raises(ValueError, match="NUMBER/SECONDS"):
            parse_rate(text)


def test_a_bad_rate_stops_the_start_and_names_its_variable() -> None:
    with pytest.raises(BadSettings, match="RATE_LIMIT_API: expected NUMBER/SECONDS"):
        load_settings({"RATE_LIMIT_API": "many"})


@pytest.mark.parametrize("is_exact", [False, True])
def test_so_many_hits_and_no_more(limiter: MemoryLimiter, clock: Clock, is_exact: bool) -> None:
    rate = Rate(3, 10, is_exact)
    assert [limiter.count("a", rate).remaining for _ in range(3)] == [2, 1, 0]
    clock.now += 4
    refused = limiter.count("a", rate)
    assert (refused.is_allowed, refused.reset_s) == (False, 6)
    assert limiter.count("b", rate).is_allowed, "another key counts for itself"
    clock.now += 6
    assert limiter.count("a", rate).is_allowed


def test_being_refused_does_not_put_the_end_off(limiter: MemoryLimiter, clock: Clock) -> None:
    for is_exact in (False, True):
        rate = Rate(1, 10, is_exact)
        key = f"key-{is_exact}"
        limiter.count(key, rate)
        for _ in range(9):
            clock.now += 1
            assert not limiter.count(key, rate).is_allowed
        clock.now += 1
        assert limiter.count(key, rate).is_allowed


def test_an_exact_rate_holds_for_every_span(limiter: MemoryLimiter, clock: Clock) -> None:
    let_through: list[float] = []
    for step in (0, 59, 0, 1, 0, 0, 30, 29, 1, 0, 0, 60, 0, 0, 0):
        clock.now += step
        if limiter.count("codes", Rate(3, 60, is_exact=True)).is_allowed:
            let_through.append(clock.now)
    assert len(let_through) > 6
    for first in let_through:
        assert sum(first <= moment < first + 60 for moment in let_through) <= 3


def test_memory_is_bounded_whoever_comes(limiter: MemoryLimiter, clock: Clock) -> None:
    for number in range(1000):
        limiter.count(f"address-{number}", Rate(3, 10))
    assert len(limiter) <= 100
    clock.now += 11
    limiter.count("one more", Rate(3, 10))
    assert len(limiter) <= 100


def test_no_limit_counts_nothing(limiter: MemoryLimiter) -> None:
    assert all(limiter.count("a", NO_LIMIT).is_allowed for _ in range(10))
    assert len(limiter) == 0


# Source: better-auth's own rules.
@pytest.mark.parametrize(
    ("path", "name", "key"),
    [
        ("/api/auth/get-session", "auth", "/get-session"),
        ("/api/auth/sign-in/email", "sign-in", "/sign-in/email"),
        ("/api/auth//sign-in///email/", "sign-in", "/sign-in/email"),
        ("/api/auth/sign-in/social", "sign-in", "/sign-in/social"),
        ("/api/auth/sign-up/email", "sign-in", "/sign-up/email"),
        ("/api/auth/change-password", "sign-in", "/change-password"),
        ("/api/auth/change-email", "sign-in", "/change-email"),
        ("/api/auth/sign-in/email-otp", "mail", "/sign-in/email-otp"),
        ("/api/auth/email-otp/send-verification-otp", "mail", "/email-otp/send-verification-otp"),
        ("/api/auth/forget-password/email-otp", "mail", "/forget-password/email-otp"),
        ("/api/auth/request-password-reset", "mail", "/request-password-reset"),
        ("/api/auth/reset-password", "auth", "/reset-password"),
        ("/api/auth/reset-password/a-secret-token", "auth", "/reset-password"),
        ("/api/auth/callback/github", "auth", "/callback"),
        ("/api/auth/a/b/c/d", "auth", "/a/b"),
        ("/api/auth", "auth", "/"),
        ("/api/auth/login", "sign-in", "/login"),
        ("/api/v1/auth/login", "sign-in", "/v1/login"),
        ("/api/v1/auth/me", "auth", "/v1/me"),
        ("/api/authors", "api", "/api"),
        ("/databases/user", "api", "/api"),
        ("/migrations/full", "api", "/api"),
        ("/db/some-name/v3/pipeline", "databases", "/db"),
    ],
)
def test_each_path_has_its_rate(path: str, name: str, key: str) -> None:
    rule = Rules(Settings()).of(path)
    assert rule is not None
    assert (rule.name, rule.key) == (name, key)


AUTH = [
    pytest.param(base, route, id=f"{route.method} {base}{route.path}")
    for base, routes in ROUTES.items()
    for route in routes
]


@pytest.mark.parametrize(("base", "route"), AUTH)
def test_each_route_has_the_rate_of_its_row_however_it_is_spelt(base: str, route: Route[Any]) -> None:
    path = base + re.sub(r"\{\w+:str\}", "a-stranger's-word", route.path)
    rules = [Rules(Settings()).of(each) for each in (path, f"{path}/", f"/{path}", path.replace("/", "//"))]
    assert {rule and rule.name for rule in rules} == {route.rate}
    assert not any("stranger" in rule.key for rule in rules if rule)
    others = {other.rate for other in ROUTES[base] if other.path == route.path}
    assert others == {route.rate}, "one path has one rate"


def test_signing_in_and_mailing_codes_are_not_rated_as_everything_else() -> None:
    costly = {base + route.path for base, routes in ROUTES.items() for route in routes if route.rate != "auth"}
    words = ("sign-in", "sign-up", "signup", "login", "register", "email-otp", "forget-password")
    named = {
        base + route.path
        for base, routes in ROUTES.items()
        for route in routes
        if any(word in route.path for word in words)
    }
    assert named <= costly


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/health/"])
def test_what_machines_ask_for_is_not_limited(path: str) -> None:
    assert Rules(Settings()).of(path) is None


@pytest.mark.parametrize(
    ("peer", "forwarded", "accountable"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # no proxy of ours: it may write what it likes
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::"),
        ("::ffff:203.0.113.9", None, "203.0.113.9"),
    ],
)
def test_who_is_held_to_account(peer: str, forwarded: str | None, accountable: str) -> None:
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    scope = {"type": "http", "client": (peer, 1), "headers": headers}
    assert ClientAddresses(["10.0.0.0/8"]).accountable(scope) == accountable  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"REDIS_URL": "redis://localhost:6379", "REDIS_TOKEN": "t"}, "REDIS_URL: expected the https URL"),
        ({"UPSTASH_REDIS_REST_URL": "https://x.upstash.io"}, "UPSTASH_REDIS_REST_TOKEN: expected"),
        ({"UPSTASH_REDIS_REST_TOKEN": "t"}, "UPSTASH_REDIS_REST_URL: needed"),
        ({"REDIS_URL": "https://u:secret@x", "REDIS_TOKEN": "t"}, "REDIS_URL: expected no password"),
    ],
)
def test_a_cache_that_cannot_be_used_is_told_at_the_start(variables: dict[str, str], fault: str) -> None:
    with pytest.raises(BadSettings) as refused:
        load_settings(variables)
    assert fault in str(refused.value)
    assert "secret" not in str(refused.value)


def test_both_names_of_the_cache_are_read() -> None:
    settings = load_settings({"REDIS_URL": "https://cache.example", "REDIS_TOKEN": "t-1"})
    assert (settings.cache_url, settings.cache_token) == ("https://cache.example", "t-1")
