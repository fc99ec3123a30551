"""CORS: the browser's other half of deciding which front ends may act for a user."""

import httpx
import pytest
from litestar import Litestar, get

from freehold.auth.origins import TrustedOrigins
from freehold.http.middleware.cors import Cors

_TRUSTED = TrustedOrigins("https://own.example", ["https://app.example", "*.preview.example"])


@get("/thing")
async def thing() -> dict[str, int]:
    return {"a": 1}


@pytest.fixture
def http() -> httpx.AsyncClient:
    app = Cors(Litestar([thing], openapi_config=None), _TRUSTED)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://own.example")  # type: ignore[arg-type]


@pytest.mark.parametrize("origin", ["https://own.example", "https://app.example", "https://pr7.preview.example"])
async def test_a_trusted_origin_may_read_the_answer(http: httpx.AsyncClient, origin: str) -> None:
    reply = await http.get("/thing", headers={"origin": origin})
    assert reply.headers["access-control-allow-origin"] == origin
    assert reply.headers["access-control-allow-credentials"] == "true"
    assert "set-auth-token" in reply.headers["access-control-expose-headers"]
    assert reply.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://app.example.evil.com", "http://app.example", "", "\u00e9"]
)
async def test_another_origin_gets_no_permission(http: httpx.AsyncClient, origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        headers = [(b"origin", origin.encode("latin-1")), (b"access-control-request-method", b"POST")]
        reply = await http.request(method, "/thing", headers=headers)
        assert "access-control-allow-origin" not in reply.headers
        assert "access-control-allow-credentials" not in reply.headers


async def test_a_preflight_is_answered_without_the_route(http: httpx.AsyncClient) -> None:
    reply = await http.options(
        "/anything",
        headers={
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, content-type",
        },
    )
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-headers"] == "authorization, content-type"
    assert "POST" in reply.headers["access-control-allow-methods"]


async def test_strange_header_names_are_not_repeated(http: httpx.AsyncClient) -> None:
    reply = await http.options(
        "/thing",
        headers={
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "x<script>",
        },
    )
    assert "access-control-allow-headers" not in reply.headers


async def test_requests_without_an_origin_are_left_alone(http: httpx.AsyncClient) -> None:
    reply = await http.get("/thing")
    assert not [name for name in reply.headers if name.startswith("access-control") or name == "vary"]
