"""Who may call what: each route, with each kind of credential, on the running service."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.routes import HTTPRoute
from testbed.servers import ROOT, Service
from testbed.sqld import running_sqld
from testbed.sqld_service import sqld_variables

from freehold.http.app import create_app
from freehold.http.auth import table
from freehold.http.auth.route import Route
from freehold.providers.serving import ENDPOINTS, REPLICA_METHODS
from freehold.settings.load import load_settings
from freehold.wiring.services import open_services
from tests.e2e.attack_routes import PASSWORD, ROUTES, WHO, Row, served_path
from tests.e2e.attack_wire import Answer, Wire, bearer
from tests.e2e.people import Person

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Cast:
    """One of each kind."""

    wire: Wire
    user: Person
    admin: Person
    signed_out: str
    name: str
    database_token: str
    api_key: str

    def token(self, who: str) -> str:
        return {
            "anonymous": "",
            "signed out": self.signed_out,
            "user": self.user.token,
            "admin": self.admin.token,
            "database token": self.database_token,
            "api key": self.api_key,
        }[who]

    def fill(self, text: str) -> str:
        number = next(_numbers)
        words = {
            "email": self.user.email,
            "new": f"new-{number}@example.com",
            "name": self.name,
            "sql": f"CREATE TABLE extra_{number} (id INTEGER PRIMARY KEY)",
        }
        for word, value in words.items():
            text = text.replace("{" + word + "}", value)
        return text

    def ask(self, row: Row, method: str, token: str) -> Answer:
        target = self.fill(row.target or row.route)
        shown = (b"x-api-key", token.encode()) if token == self.api_key else bearer(token)
        headers = ((b"Content-Type", b"application/json"), *([shown] if token else []))
        body = b"" if row.body is None else self.fill(json.dumps(row.body)).encode()
        return self.wire.send(method, target, headers, body)


@pytest.fixture(scope="module")
def cast(service: Service) -> Cast:
    return cast_on(service)


@pytest.fixture(scope="module")
def cast_on_sqld(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    """In front of sqld, which serves replicas as well."""
    with running_sqld() as sqld:
        running = Service(tmp_path_factory.mktemp("service"), **sqld_variables(sqld)).start()
        yield cast_on(running)
        running.stop()


def cast_on(service: Service) -> Cast:
    """Everybody, on this service."""

    def enter(path: str, email: str) -> Person:
        body = {"name": "N", "email": email, "password": PASSWORD}
        reply = httpx.post(f"{service.url}/api/auth/{path}/email", json=body, timeout=30)
        assert reply.status_code == 200, reply.text
        found = reply.json()
        return Person(service.url, email, found["user"]["id"], found["token"])

    made = service.run("users", "create-admin", "admin@example.com", "--password-stdin", stdin=PASSWORD)
    assert made.returncode == 0, made.stderr
    user = enter("sign-up", "user@example.com")
    ended = enter("sign-in", "user@example.com")
    httpx.post(f"{service.url}/api/auth/sign-out", headers=ended.headers).raise_for_status()
    credentials = user.credentials()
    admin = enter("sign-in", "admin@example.com")
    admin.credentials()
    name, token = credentials["db_name"], credentials["access_token"]
    # The most powerful user's: it must not be any more than a key.
    key = httpx.post(f"{service.url}/api/auth/api-key/create", headers=admin.headers, json={})
    assert key.status_code == 200, key.text
    return Cast(Wire(service.port), user, admin, ended.token, name, token, key.json()["key"])


async def test_every_route_is_in_the_table_and_nothing_else(tmp_path: Path) -> None:
    settings = load_settings({"DATA_DIR": str(tmp_path), "SCHEMA_REGISTRY": str(ROOT / "schema_registry" / "bahar")})
    async with open_services(settings) as services:
        routes = create_app(services).routes
    served = {
        (method, route.path_format)
        for route in routes
        for method in (route.methods if isinstance(route, HTTPRoute) else ["mounted"])
    }
    listed = set().union(*(row.keys for row in ROUTES))
    assert served - listed == set(), "say in attack_routes.py who may use these"
    assert listed - served == set(), "these are no more"
    rows = {(each.method, base + served_path(each.path)) for base, found in table.ROUTES.items() for each in found}
    by_rows = {
        (method, route.path_format)
        for route in routes
        if isinstance(route, HTTPRoute) and route.path_format.startswith(tuple(table.ROUTES))
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS" and handler.status_code != 404
    }
    assert by_rows == rows, "routes of auth are served from their table alone, which says their rates"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        pytest.param(f"{base}{route.path}", route, id=f"{route.method} {base}{route.path}")
        for base, routes in table.ROUTES.items()
        for route in routes
    ],
)
def test_who_may_call_a_route_is_what_its_row_says(path: str, route: Route[Any]) -> None:
    """The calls below show that it is so."""
    found = [row for row in ROUTES if (route.method, served_path(path)) in row.keys]
    assert found, "say in attack_routes.py who may use this"
    for row in found:
        refused = {who for who, status in row.outcomes.items() if status == 401}
        match route.caller:
            case "session" | "form session" | "admin":
                assert refused == set(WHO) - {"user", "admin"}
            case "access token":  # which nobody has here
                assert refused == set(WHO)
            case _:
                assert refused in (set(), set(WHO)), "it does not matter who asks"
        assert (row.outcomes["user"] == 403 != row.outcomes["admin"]) == (route.caller == "admin")


def test_every_endpoint_of_a_database_is_in_the_table() -> None:
    listed = {row.target.removeprefix("/db/{name}/") for row in ROUTES if row.route == "/db"}
    assert listed >= ENDPOINTS


CALLS = [
    pytest.param(row, method, id=f"{method} {row.target or row.route}")
    for row in ROUTES
    for method in sorted(row.methods)
]


@pytest.mark.parametrize(("row", "method"), CALLS)
def test_each_may_do_what_the_table_says(cast: Cast, row: Row, method: str) -> None:
    for who in WHO:
        token = cast.token(who)
        if row.route.endswith(("/sign-out", "/logout")) and method == "POST" and who in {"user", "admin"}:
            token = _another_session(cast, who)
        if row.route.endswith(("/revoke-sessions", "/revoke-other-sessions")) and who in {"user", "admin"}:
            token = _somebody(cast)
        answer = cast.ask(row, method, token)
        assert answer.status == row.outcomes[who], (who, answer)
        # better-auth's 401 has no such header, and browsers must not be asked for a password there.
        is_auth = row.route.startswith("/api/auth")
        if answer.status == 401 and "json" in answer.header("content-type") and not is_auth:
            assert answer.header("www-authenticate") == "Bearer"


def _somebody(cast: Cast) -> str:
    body = {"name": "N", "email": cast.fill("{new}"), "password": PASSWORD}
    token: str = cast.wire.post("/api/auth/sign-up/email", body).json["token"]
    return token


@pytest.mark.parametrize("place", ["/db/{name}/", "/"])
@pytest.mark.parametrize("method", sorted(REPLICA_METHODS))
def test_replicas_need_a_database_token(cast_on_sqld: Cast, method: str, place: str) -> None:
    """Their calls are gRPC: refusals are 200 with `grpc-status`, 16 for want of a token that counts."""
    target = cast_on_sqld.fill(place) + method
    for who in WHO:
        token = cast_on_sqld.token(who)
        headers = ((b"Content-Type", b"application/grpc-web"), *([bearer(token)] if token else []))
        answer = cast_on_sqld.wire.send("POST", target, headers, b"\0\0\0\0\0")
        assert answer.status == 200, (who, answer)
        is_refused = answer.header("grpc-status") == "16"
        assert is_refused is (who != "database token"), (who, answer)


@pytest.mark.parametrize("place", ["/db/{name}/", "/"])
@pytest.mark.parametrize(
    "method", ["proxy.Proxy/StreamExec", "wal_log.ReplicationLog/Other", "wal_log.ReplicationLog/"]
)
def test_no_other_call_of_replication_is_served(cast_on_sqld: Cast, method: str, place: str) -> None:
    headers = ((b"Content-Type", b"application/grpc-web"), bearer(cast_on_sqld.database_token))
    target = cast_on_sqld.fill(place) + method
    assert cast_on_sqld.wire.send("POST", target, headers, b"\0\0\0\0\0").status == 404


def _another_session(cast: Cast, who: str) -> str:
    email = {"user": cast.user, "admin": cast.admin}[who].email
    answer = cast.wire.post("/api/auth/sign-in/email", {"email": email, "password": PASSWORD})
    assert answer.status == 200, answer
    token: str = answer.json["token"]
    return token


def test_a_promise_of_admin_in_a_sign_up_is_not_kept(cast: Cast) -> None:
    body = {"name": "N", "email": cast.fill("{new}"), "password": PASSWORD, "role": "admin"}
    assert cast.wire.post("/api/auth/sign-up/email", body).status == 400
    for trick in ({"Role": "admin"}, {"user": {"role": "admin"}}, {"isAdmin": True}, {"role": None}):
        body = {"name": "N", "email": cast.fill("{new}"), "password": PASSWORD, **trick}  # type: ignore[dict-item]
        answer = cast.wire.post("/api/auth/sign-up/email", body)
        if answer.status == 200:
            assert answer.json["user"]["role"] == "user"
            refused = cast.wire.post("/migrations/register", {"sqlScript": "SELECT 1"}, answer.json["token"])
            assert refused.status == 403, refused


def test_an_admin_by_cookie_acts_from_a_trusted_page_only(service: Service, cast: Cast) -> None:
    signed_in = httpx.post(
        f"{service.url}/api/auth/sign-in/email", json={"email": cast.admin.email, "password": PASSWORD}
    )
    cookie = (b"Cookie", signed_in.headers["set-cookie"].split(";")[0].encode())
    body = json.dumps({"sqlScript": cast.fill("{sql}"), "description": "by cookie"}).encode()
    kind = (b"Content-Type", b"application/json")
    for origin in (
        b"",
        b"null",
        b"http://evil.example",
        b"http://127.0.0.1:1",
        service.url.encode() + b".evil.example",
    ):
        headers = (kind, cookie, *([(b"Origin", origin)] if origin else []))
        assert cast.wire.send("POST", "/migrations/register", headers, body).status == 403
    answer = cast.wire.send("POST", "/migrations/register", (kind, cookie, (b"Origin", service.url.encode())), body)
    assert answer.status == 201, answer
