"""Pages that call in vain are told in the log, within limits, with what to set."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
import structlog
from litestar.types import Scope

from freehold.http.page_origins import PageOrigins, hint_for_cookies, hint_for_origin, hint_for_refusal

Lines = list[Any]


def scope(**headers: str) -> Scope:
    found = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return cast(Scope, {"type": "http", "headers": found})


@pytest.fixture
def lines() -> Iterator[Lines]:
    with structlog.testing.capture_logs() as found:
        yield found


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_origin_is_told_once_in_ten_minutes_with_what_to_set(lines: Lines) -> None:
    clock = Clock()
    pages = PageOrigins(clock)
    for _ in range(3):
        pages.not_trusted(scope(host="api.example"), "https://app.example")
    clock.now += 601
    pages.not_trusted(scope(host="api.example"), "https://app.example")
    assert [line["event"] for line in lines] == ["origin.not_trusted"] * 2
    assert lines[0]["origin"] == "https://app.example"
    assert "TRUSTED_ORIGINS" in lines[0]["hint"]


def test_whoever_makes_up_origins_fills_neither_the_log_nor_the_memory(lines: Lines) -> None:
    clock = Clock()
    pages = PageOrigins(clock)
    for number in range(5000):
        clock.now += 0.01
        pages.not_trusted(scope(host="a"), f"https://{number}.example/{'x' * 10_000}")
    assert len(lines) == 10
    assert all(len(line["origin"]) <= 200 for line in lines)
    for number in range(3000):
        clock.now += 61
        pages.not_trusted(scope(host="a"), f"https://later-{number}.example")
    assert len(pages._told) <= 200


def test_the_service_under_another_name_and_a_page_from_a_file_have_hints_of_their_own(lines: Lines) -> None:
    pages = PageOrigins()
    pages.not_trusted(scope(host="auth.example.com"), "https://auth.example.com")
    pages.not_trusted(scope(host="auth.example.com"), "null")
    assert "BETTER_AUTH_URL" in lines[0]["hint"]
    assert "serve it over HTTP" in lines[1]["hint"]


@pytest.mark.parametrize(
    ("origin", "host", "better"),
    [
        ("http://localhost:5173", "127.0.0.1:8000", "http://localhost:8000"),
        ("http://127.0.0.1:5173", "localhost:8000", "http://127.0.0.1:8000"),
        ("http://localhost", "[::1]:8000", "http://localhost:8000"),
        ("http://[::1]:3000", "localhost:9", "http://[::1]:9"),
        ("http://localhost:5173", "127.0.0.1", "http://localhost from"),
        ("http://localhost:5173", "127.0.0.1:what", "http://localhost from"),
    ],
)
def test_localhost_and_127_0_0_1_are_two_sites(origin: str, host: str, better: str) -> None:
    hint = hint_for_cookies(scope(origin=origin, host=host))
    assert hint is not None
    assert f"call {better}" in hint
    assert "bearer" in hint


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:8000"},
        {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:5173"},
        {"host": "auth.example.com", "origin": "https://app.example.com", "sec_fetch_site": "same-site"},
        {"host": "127.0.0.1:8000", "origin": "null"},
        {"host": "127.0.0.1:8000", "origin": "http://[::1"},
    ],
)
def test_where_cookies_are_kept_nothing_is_said(headers: dict[str, str]) -> None:
    assert hint_for_cookies(scope(**headers)) is None


def test_a_page_of_another_domain_is_told_as_a_browser_tells_it() -> None:
    found = scope(host="auth.example.com", origin="https://app.other.com", sec_fetch_site="cross-site")
    assert "another site" in (hint_for_cookies(found) or "")


def test_who_brings_a_token_is_told_nothing_about_cookies() -> None:
    called = {"host": "127.0.0.1:8000", "origin": "http://localhost:5173"}
    assert hint_for_refusal(scope(**called)) is not None
    assert hint_for_refusal(scope(**called, authorization="Bearer x")) is None
    assert hint_for_refusal(scope(**called, x_api_key="x")) is None


def test_only_an_origin_on_this_machine_is_told_which_setting_it_lacks() -> None:
    assert hint_for_origin("http://localhost:5173") == "http://localhost:5173 is not in TRUSTED_ORIGINS"
    assert hint_for_origin("https://evil.example") is None
