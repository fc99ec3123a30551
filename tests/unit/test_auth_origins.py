"""Which origins are trusted, and where a browser may be sent."""

import pytest

from freehold.auth.origins import TrustedOrigins

ORIGINS = TrustedOrigins(
    "https://Auth.example.com:443",
    [
        "http://trusted.example",
        "http://localhost:3000/",
        "https://*.wild.example",
        "*.host.example",
        "http://127.0.0.?:*",
        "myapp://",
        "other://open/cb",
        "trimmed:",
    ],
)


@pytest.mark.parametrize(
    "origin",
    [
        "https://auth.example.com",
        "https://AUTH.example.com:443",
        "http://trusted.example",
        "http://trusted.example:80",
        "http://trusted.example/login?x=y",
        "http://localhost:3000",
        "https://a.wild.example",
        "https://a.b.wild.example",
        "http://a.host.example",
        "https://a.host.example",
        "http://127.0.0.1:5173",
        "myapp://",
        "myapp://anything/at/all",
        "other://open/cb",
        "other://open/cb/deeper",
        "other://open/cb?x=y",
        "trimmed://x",
    ],
)
def test_trusts(origin: str) -> None:
    assert ORIGINS.is_trusted(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "https://evil.example",
        "http://auth.example.com",
        "https://auth.example.com:8443",
        "https://auth.example.com.evil.example",
        "https://evil.example/https://auth.example.com",
        "https://auth.example.com@evil.example",
        "https://evil.example\\@auth.example.com",
        "https://auth.example.com\\.evil.example",
        "https://wild.example",
        "http://a.wild.example",
        "https://evil.example/.wild.example",
        "https://evil.example?.wild.example",
        "https://evil.example#.wild.example",
        "https://evil.example\\.wild.example",
        "ftp://a.host.example",
        "javascript://a.host.example/%0aalert(1)",
        "https://host.example",
        "http://127.0.0.12:5173",
        "myapp:evil",
        "other://open/cbx",
        "other://open/cb/../evil",
        "other://open/cb/%2E./evil",
        "other://evil",
        "auth.example.com",
        "//auth.example.com",
        " https://auth.example.com",
        "https://auth.example.com\n",
        "https://[::1",
        "http://[evil",
        "javascript:alert(1)",
        "data:text/html,x",
    ],
)
def test_does_not_trust(origin: str) -> None:
    assert not ORIGINS.is_trusted(origin)


@pytest.mark.parametrize(
    "url",
    ["/", "/dashboard", "/a/b?next=%2Fc&d=e#f", "/كلمات", "https://auth.example.com/x", "myapp://done", "/a?b=//c"],
)
def test_a_browser_may_be_sent_to(url: str) -> None:
    assert ORIGINS.is_safe_redirect(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "dashboard",
        "//evil.example/x",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "/%2fevil.example",
        "/%5Cevil.example",
        "/a//b",
        "/\t/evil.example",
        "/a\r\nSet-Cookie: x=y",
        "/\0",
        "http://evil.example/x",
        "https://auth.example.com@evil.example",
        "javascript:alert(1)",
    ],
)
def test_a_browser_may_not_be_sent_to(url: str) -> None:
    assert not ORIGINS.is_safe_redirect(url)
