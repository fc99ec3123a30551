"""Everything that should not be sent, sent to every route: a clear refusal each, quickly, and nothing in the log."""

import json
import os
import random
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.attack_routes import PASSWORD, ROUTES
from tests.e2e.attack_shapes import check_refusal
from tests.e2e.attack_wire import Answer, Headers, Wire, bearer
from tests.e2e.attack_world import pipeline
from tests.e2e.people import Person, sign_up
from tests.servers import Service

ADMIN = "admin@example.com"
JSON = (b"Content-Type", b"application/json")
FORM = (b"Content-Type", b"application/x-www-form-urlencoded")


@dataclass(frozen=True)
class Caller:
    """Somebody with every credential, so that requests get as far as they can."""

    wire: Wire
    service: Service
    person: Person
    admin_token: str
    credentials: dict[str, Any]

    def target(self, target: str) -> str:
        return target.replace("{name}", self.credentials["db_name"])

    def token_for(self, target: str) -> str:
        if target.endswith("/sign-out"):
            return "nobody"  # it would end the session
        if target.startswith("/db"):
            return str(self.credentials["access_token"])
        return self.admin_token

    def post(self, target: str, body: Any, *more: tuple[bytes, bytes], chunked: bool = False) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = () if any(name == b"Content-Type" for name, _ in more) else (JSON,)
        headers: Headers = (*kind, bearer(self.token_for(target)), *more)
        return self.wire.send("POST", self.target(target), headers, raw, chunked=chunked)

    @property
    def secrets(self) -> dict[str, str]:
        """What the log must not hold."""
        token = self.credentials["access_token"]
        return {
            "the password": PASSWORD,
            "the admin's session": self.admin_token,
            "the session": self.person.token,
            "the database token": token,
            "its signature": token.rpartition(".")[2],
        }


@pytest.fixture(scope="module")
def caller(service: Service) -> Iterator[Caller]:
    made = service.run("users", "create-admin", ADMIN, "--password-stdin", stdin=PASSWORD)
    assert made.returncode == 0, made.stderr
    person = sign_up(service.url)
    wire = Wire(service.port)
    answer = wire.post("/api/auth/sign-in/email", {"email": ADMIN, "password": PASSWORD})
    wire.secrets["a path of the service"] = str(service.data_dir).encode()
    found = Caller(wire, service, person, answer.json["token"], person.credentials())
    yield found
    time.sleep(0.2)  # the log is written a moment later
    log = service.log()
    for what, secret in found.secrets.items():
        assert secret not in log, f"the log holds {what}"
    faults = [line for line in log.splitlines() if "Traceback" in line or "exc_info" in line]
    assert faults == [], faults[0]
    assert not re.search(r'"level": ?"(error|critical)"', log)
    assert not re.search(r'"status": ?5', log)


@pytest.fixture(autouse=True)
def service_stays_well(caller: Caller) -> Iterator[None]:
    yield
    answer = caller.wire.get("/health")
    assert answer.status == 200
    assert answer.took_s < 0.5


# Bodies --------------------------------------------------------------------------------------------

POSTED = [
    "/api/auth/sign-up/email",
    "/api/auth/sign-in/email",
    "/api/auth/sign-out",
    "/api/auth/get-session",
    "/migrations/verify",
    "/migrations/register",
    "/db/{name}/v3/pipeline",
    "/db/{name}/v2/pipeline",
    "/db/{name}/v3/cursor",
    "/db/{name}/v1/execute",
    "/db/{name}/v1/batch",
]
TAKES_ANY_JSON = {"/api/auth/sign-out"}

NOT_JSON: dict[str, bytes] = {
    "cut": b'{"a": ',
    "single quotes": b"{'a': 1}",
    "no quotes": b"{a: 1}",
    "a comment": b'{"a": 1} // x',
    "a comma too many": b'{"a": 1,}',
    "two values": b'{"a": 1}{"a": 2}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "bad UTF-8": b'{"a": "\xff\xfe"}',
    "overlong UTF-8": b'{"a": "\xc0\x80"}',
    "a surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a mark before": b'\xef\xbb\xbf{"a": 1}',
    "a bare NUL": b'{"a": "\x00"}',
    "a NUL": b"\x00",
    "half an escape": b'{"a": "\\u12"}',
    "half a pair": b'{"a": "\\ud800"}',
    "two first halves": b'{"a": "\\ud800\\ud800"}',
    "XML": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "deep arrays": b"[" * 60_000,
    "deep closed arrays": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep inside": b'{"requests": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
}
NOT_THE_FORM: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "true": b"true",
    "a number": b"1",
    "a large number": b"1e999",
    "a long number": b"9" * 5000,
    "a text": b'"x"',
    "an array": b"[]",
    "an array of it": b'[{"email": "a@example.com", "password": "x"}]',
    "an empty object": b"{}",
    "arrays for all": b'{"email": [], "password": [], "name": [], "version": [], "sqlScript": [],'
    b' "description": [], "requests": {}, "stmt": [], "batch": []}',
    "objects for all": b'{"email": {}, "password": {}, "name": {}, "version": {}, "sqlScript": {},'
    b' "description": {}, "requests": 1, "stmt": "x", "batch": "x"}',
    "null for all": b'{"email": null, "password": null, "name": null, "version": null, "sqlScript": null,'
    b' "description": null, "requests": null, "stmt": null, "batch": null}',
    "the prototype": b'{"__proto__": {"admin": true}, "constructor": 1, "__class__": 1}',
}


@pytest.mark.parametrize("target", POSTED)
@pytest.mark.parametrize("name", [*NOT_JSON, *NOT_THE_FORM])
def test_a_body_that_cannot_be_used_is_refused(caller: Caller, target: str, name: str) -> None:
    body = (NOT_JSON | NOT_THE_FORM)[name]
    for chunked in (False, True):
        answer = caller.post(target, body, chunked=chunked)
        if target in TAKES_ANY_JSON and name in NOT_THE_FORM:
            assert answer.status in {200, 400}, answer
        else:
            check_refusal(answer, target)


TYPES = [
    b"",
    b"text/plain",
    b"application/xml",
    b"multipart/form-data",
    b"multipart/form-data; boundary=x",
    b"application/x-www-form-urlencoded",
    b"application/json; charset=utf-16",
    b"application/octet-stream",
    b"application/x-protobuf",
    b"text/html; charset=\xff",
    b";;;;",
    b"a" * 3000,
]


@pytest.mark.parametrize("target", POSTED)
def test_a_type_that_is_not_known_is_no_fault_of_ours(caller: Caller, target: str) -> None:
    for kind in TYPES:
        for body in (b"email=a%40example.com&password=x", b"--x\r\n\r\n\r\n--x--", b"\x0a\x03abc"):
            answer = caller.post(target, body, (b"Content-Type", kind))
            if target in TAKES_ANY_JSON and answer.status == 200:
                continue
            check_refusal(answer, target)


LIMITS = {
    "/api/auth/sign-up/email": 64 * 1024,
    "/api/auth/sign-in/email": 64 * 1024,
    "/api/auth/sign-out": 64 * 1024,
    "/migrations/verify": 2 * 1024 * 1024,
    "/migrations/register": 2 * 1024 * 1024,
    "/db/{name}/v3/pipeline": 10_000_000,
    "/db/{name}/v1/execute": 10_000_000,
}


@pytest.mark.parametrize("target", LIMITS)
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_body_over_the_limit_is_refused_before_it_is_read_whole(
    caller: Caller, target: str, chunked: bool
) -> None:
    body = b'{"a": "' + b"x" * (LIMITS[target] + 100_000) + b'"}'
    answer = caller.post(target, body, chunked=chunked)
    assert answer.status == 413, answer
    check_refusal(answer, target)


@pytest.mark.parametrize(
    "target", ["/db/{name}/v3/pipeline", "/migrations/register", "/api/auth/sign-in/email"]
)
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_even_who_sends_much_more_gets_to_see_why_it_is_refused(
    caller: Caller, target: str, chunked: bool
) -> None:
    body = b"x" * 30_000_000
    before = _memory_mb(caller.service)
    answer = caller.post(target, body, chunked=chunked)
    assert answer.status == 413, answer
    nobody = caller.wire.send("POST", caller.target(target), (JSON,), body, chunked=chunked)
    assert nobody.status in {401, 413}, nobody
    assert _memory_mb(caller.service) - before < 60


@pytest.mark.parametrize("target", LIMITS)
def test_a_length_that_is_only_promised_is_refused_at_once(caller: Caller, target: str) -> None:
    head = (
        f"POST {caller.target(target)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\n"
        f"Authorization: Bearer {caller.token_for(target)}\r\nContent-Length: 99999999999999\r\n\r\n"
    )
    answer = caller.wire.send_bytes(head.encode() + b'{"a": ')
    assert answer.status == 413, answer
    check_refusal(answer, target)


def test_large_bodies_do_not_stay_in_memory(caller: Caller) -> None:
    before = _memory_mb(caller.service)
    body = b'{"a": "' + b"x" * 9_000_000
    for _ in range(12):
        check_refusal(caller.post("/db/{name}/v3/pipeline", body), "/db/")
    assert _memory_mb(caller.service) - before < 120


def _memory_mb(service: Service) -> float:
    assert service.process_id
    with open(f"/proc/{service.process_id}/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


# Fields --------------------------------------------------------------------------------------------

ODD_VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    float("inf"),
    [],
    ["a"],
    {},
    {"a": 1},
    "",
    " ",
    "\0",
    "a\0b",
    "x" * 50_000,
    "\u202e",
    "\U0001f600" * 100,
    "' OR 1=1 --",
    "1",
    "../../etc/passwd",
]
COMPLETE: dict[str, dict[str, Any]] = {
    "/api/auth/sign-up/email": {"name": "N", "email": "{new}", "password": PASSWORD},
    "/api/auth/sign-in/email": {"email": ADMIN, "password": PASSWORD, "rememberMe": True, "callbackURL": "/"},
    "/migrations/verify": {"version": 1},
    "/migrations/register": {"sqlScript": "{sql}", "description": "one more"},
}


@pytest.mark.parametrize(
    ("target", "field"),
    [(target, field) for target, body in COMPLETE.items() for field in body]
    + [("/api/auth/sign-up/email", field) for field in ("image", "callbackURL", "rememberMe", "role", "id")],
)
def test_a_field_with_an_odd_value_is_refused_or_harmless(caller: Caller, target: str, field: str) -> None:
    # Where a password would be hashed for each value, a few are enough.
    for value in ODD_VALUES[:: 5 if field in {"image", "role", "id"} else 1]:
        body = json.dumps({**COMPLETE[target], field: value}).replace("Infinity", "1e999")
        body = body.replace("{new}", f"odd-{random.getrandbits(64)}@example.com")
        body = body.replace("{sql}", f"CREATE TABLE odd_{random.getrandbits(64)} (a)")
        answer = caller.post(target, body.encode())
        if answer.status >= 300:
            check_refusal(answer, target)


# Paths, queries, methods -----------------------------------------------------------------------------

BAD_QUERIES = [
    "/migrations?after=-1",
    "/migrations?after=abc",
    "/migrations?after=1.5",
    "/migrations?after=NaN",
    "/migrations?after=1e999",
    "/migrations?after=9223372036854775808",
    "/migrations?after=" + "9" * 5000,
    "/migrations?after=%00",
    "/migrations?after=%ff",
    "/migrations?after=%ED%A0%80",
    "/migrations?after=",
    "/migrations?after=0x10",
    "/migrations?after=true",
    "/migrations?after=[]",
    "/migrations?after=1%202",
    "/migrations?after='",
    "/databases/user?access_level=",
    "/databases/user?access_level=admin",
    "/databases/user?access_level=FULL",
    "/databases/user?access_level=full%00",
    "/databases/user?access_level=%ff",
    "/databases/user?access_level=" + "x" * 20_000,
]
HARMLESS_QUERIES = [
    "/migrations?after=1&after=2",
    "/migrations?after[]=1",
    "/migrations?" + "&".join(f"a{n}={n}" for n in range(5000)),
    "/migrations?%ff=%ff&%00=%00&=&&;;",
    "/api/auth/get-session?disableRefresh=%ff&disableCookieCache=%00",
    "/api/auth/get-session?" + "x" * 50_000,
    "/databases/user?a=%ED%A0%80",
    "/health?" + "%" * 1000,
]


@pytest.mark.parametrize("target", BAD_QUERIES, ids=lambda target: target[:60])
def test_a_query_that_cannot_be_used_is_refused(caller: Caller, target: str) -> None:
    answer = caller.wire.get(target, caller.admin_token)
    assert answer.status == 400, answer
    check_refusal(answer, target)


@pytest.mark.parametrize("target", HARMLESS_QUERIES, ids=lambda target: target[:60])
def test_a_query_that_nobody_asks_for_does_nothing(caller: Caller, target: str) -> None:
    answer = caller.wire.get(target, caller.admin_token)
    assert answer.status in {200, 202, 400}, answer
    if answer.status == 400:
        check_refusal(answer, target)


BAD_PATHS: list[bytes] = [
    b"/nothing",
    b"/%00",
    b"/%ff%fe",
    b"/%ED%A0%80",
    b"/%",
    b"/%zz",
    b"/\xff",
    b"/..",
    b"/../../../../etc/passwd",
    b"/%2e%2e/%2e%2e/etc/passwd",
    b"/schema/../../../etc/passwd",
    b"/schema/..%2f..%2f..%2fetc%2fpasswd",
    b"/schema/%00",
    b"//",
    b"/health/",
    b"/health/x",
    b"/health%00",
    b"/migrations/7",
    b"/databases",
    b"/databases/",
    b"/api",
    b"/api/auth",
    b"/api/auth/",
    b"/api/auth/%00",
    b"/api/auth/%ff",
    b"/api/auth/sign-in/email/",
    b"/api/auth/sign-in",
    b"/api/auth//ok",
    b"/db",
    b"/db/",
    b"/db/%00/v3/pipeline",
    b"/db/%ff/v3/pipeline",
    b"/db/%ED%A0%80/v3/pipeline",
    b"/db/" + b"x" * 20_000 + b"/v3/pipeline",
    b"/" + b"x" * 60_000,
    b"/" + b"a/" * 20_000,
    b"*",
    b"http://[::1",
    b"http://",
    b"//evil.example/health",
    b"/health#" + b"x" * 100,
    b"/.env",
    b"/.git/config",
    b"/admin/tenants",
    b"/console",
    b"/metrics/",
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: repr(path[:50]))
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_that_leads_nowhere_says_so(caller: Caller, path: bytes, method: str) -> None:
    token = caller.token_for("/db" if path.startswith(b"/db") else "")
    answer = caller.wire.send(method, path, (JSON, bearer(token)), b"{}" if method == "POST" else b"")
    if answer.status == 200:  # another spelling of one that leads somewhere
        assert method == "GET"
        assert path in {
            b"/health/",
            b"/api/auth//ok",
            b"/health#" + b"x" * 100,
            b"/schema/../../../etc/passwd",
        }
        return
    check_refusal(answer, b"/x" if path == b"*" else path)


@pytest.mark.parametrize(
    "method",
    ["PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "HEAD", "PROPFIND", "get", "QUERY", "X" * 300, "G\0T", ""],
)
def test_a_method_that_is_not_known_is_refused(caller: Caller, method: str) -> None:
    for route in sorted({row.target or row.route for row in ROUTES}):
        target = caller.target(route)
        answer = caller.wire.send(method, target, (JSON, bearer(caller.token_for(target))), b"{}")
        if method == "OPTIONS" and answer.status == 204:
            assert "GET" in answer.header("allow") or "POST" in answer.header("allow"), answer
        elif method == "HEAD":
            assert answer.status in {200, 400, 404, 405}, (route, answer)
            assert answer.body in {b"", b"Invalid HTTP request received."} or answer.status == 400, answer
        elif answer.status == 405:  # the framework's, before it knows the part of the service
            check_refusal(answer, target if "problem" not in answer.header("content-type") else "/")
        else:
            check_refusal(answer, target)


# Headers -------------------------------------------------------------------------------------------

ODD_HEADERS: dict[str, Headers] = {
    "a long one": ((b"X-Long", b"x" * 60_000),),
    "many": tuple((b"X-%d" % number, b"x") for number in range(2000)),
    "a long cookie": ((b"Cookie", b"better-auth.session_token=" + b"x" * 60_000),),
    "many cookies": ((b"Cookie", b"; ".join(b"c%d=%d" % (n, n) for n in range(5000))),),
    "many session cookies": ((b"Cookie", b"; ".join([b"better-auth.session_token=a.b"] * 500)),),
    "a bad cookie": ((b"Cookie", b"better-auth.session_token=%ff%00.%%%; ;;=;=x; \xff\xfe"),),
    "a signed-looking cookie": (
        (b"Cookie", b"better-auth.session_token=" + b"a" * 32 + b"." + b"A" * 43 + b"%3D"),
    ),
    "not ASCII": ((b"Authorization", "Bearer кириллица".encode()),),
    "not UTF-8": ((b"Authorization", b"Bearer \xff\xfe\x80"),),
    "a surrogate": ((b"Authorization", b"Bearer \xed\xa0\x80"),),
    "a percent NUL": ((b"Authorization", b"Bearer a%00.b%00"),),
    "a long token": ((b"Authorization", b"Bearer " + b"x" * 60_000),),
    "only dots": ((b"Authorization", b"Bearer ..."),),
    "no scheme": ((b"Authorization", b"x"),),
    "an odd origin": ((b"Origin", b"\xff://[::1"), (b"Cookie", b"a=b")),
    "a long origin": ((b"Origin", b"http://" + b"a." * 20_000),),
    "an odd referer": ((b"Referer", b"http://[" + b"x" * 1000), (b"Cookie", b"a=b")),
    "odd forwarding": (
        (b"X-Forwarded-For", b",,, ,\xff, 999.1.1.1, ::ffff:1.2.3.4%x"),
        (b"Forwarded", b"for=;"),
    ),
    "odd conditions": (
        (b"If-None-Match", b'"\xff", W/, ,*, ' + b'"x",' * 5000),
        (b"If-Match", b"x"),
        (b"If-Modified-Since", b"yesterday"),
        (b"If-Unmodified-Since", b"\xff"),
        (b"If-Range", b"x"),
        (b"Range", b"bytes=-99999999999999999999-"),
    ),
    "odd accept": (
        (b"Accept", b"q=;/;*" * 100),
        (b"Accept-Encoding", b"\xff"),
        (b"Accept-Language", b"x" * 5000),
    ),
    "an odd encoding": ((b"Content-Encoding", b"gzip"),),
    "an upgrade": ((b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"AAMAAABkAAQ")),
    "an odd preflight": (
        (b"Origin", b"null"),
        (b"Access-Control-Request-Method", b"X" * 3000),
        (b"Access-Control-Request-Headers", b"\xff," * 3000),
    ),
    "an odd agent": ((b"User-Agent", b"\xff\xfe" * 1000),),
    "two lengths": ((b"Content-Length", b"0"), (b"Content-Length", b"5")),
    "a bad length": ((b"Content-Length", b"-1"),),
    "a word for a length": ((b"Content-Length", b"many"),),
    "a long length": ((b"Content-Length", b"9" * 400),),
    "length and chunks": ((b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")),
    "odd chunks": ((b"Transfer-Encoding", b"gzip, identity"),),
    "an odd host": ((b"Host", b"\xff\xfe"),),
    "a host with a path": ((b"Host", b"127.0.0.1/db/x"),),
    "two hosts": ((b"Host", b"a"), (b"Host", b"b")),
    "an empty host": ((b"Host", b""),),
}


@pytest.mark.parametrize("name", ODD_HEADERS)
def test_odd_headers_are_refused_or_do_nothing(caller: Caller, name: str) -> None:
    headers = ODD_HEADERS[name]
    for target in (
        "/health",
        "/api/auth/get-session",
        "/databases/user",
        "/migrations?after=3",
        "/migrations/full",
    ):
        answer = caller.wire.send("GET", target, headers)
        if answer.status not in {200, 304}:
            check_refusal(answer, target)
    for target in (
        "/api/auth/sign-in/email",
        "/migrations/register",
        caller.target("/db/{name}/v3/pipeline"),
    ):
        own: Headers = () if any(n == b"Content-Length" for n, _ in headers) else ((b"Content-Length", b"2"),)
        answer = caller.wire.send("POST", target, (*headers, *own, JSON), b"{}")
        check_refusal(answer, target)
    preflight = caller.wire.send("OPTIONS", "/migrations/register", headers)
    assert preflight.status in {204, 400}, preflight


def test_half_a_request_holds_nobody_else_up(caller: Caller) -> None:
    peers = [socket.create_connection(("127.0.0.1", caller.service.port)) for _ in range(150)]
    try:
        for number, peer in enumerate(peers):
            head = b"POST /api/auth/sign-in/email HTTP/1.1\r\nHost: x\r\n"
            peer.sendall(head if number % 2 else head + b"Content-Length: 100\r\n\r\n{")
        assert caller.wire.get("/api/auth/get-session", caller.person.token).took_s < 0.5
    finally:
        for peer in peers:
            peer.close()


def test_what_is_no_http_is_refused(caller: Caller) -> None:
    for request in (
        b"\0" * 100,
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\0",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM",
    ):
        with socket.create_connection(("127.0.0.1", caller.service.port), timeout=5) as peer:
            peer.sendall(request + b"\r\n\r\n")
            peer.shutdown(socket.SHUT_WR)
            received = peer.recv(4096)
            assert received.startswith(b"HTTP/1.1 4") or received == b"", received


# Hrana ---------------------------------------------------------------------------------------------

PIPELINES: dict[str, Any] = {
    "requests missing": {},
    "requests an object": {"requests": {}},
    "a request of no kind": {"requests": [{}]},
    "a request of unknown kind": {"requests": [{"type": "drop_database"}]},
    "a kind that is no text": {"requests": [{"type": 1}]},
    "a kind that is an array": {"requests": [{"type": ["execute"]}]},
    "a request that is null": {"requests": [None]},
    "a request that is an array": {"requests": [["execute"]]},
    "a statement missing": {"requests": [{"type": "execute"}]},
    "a statement that is a text": {"requests": [{"type": "execute", "stmt": "SELECT 1"}]},
    "no SQL": {"requests": [{"type": "execute", "stmt": {}}]},
    "SQL that is a number": {"requests": [{"type": "execute", "stmt": {"sql": 1}}]},
    "SQL that is null": {"requests": [{"type": "execute", "stmt": {"sql": None}}]},
    "SQL and its number": {"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1", "sql_id": 1}}]},
    "an unknown number": {"requests": [{"type": "execute", "stmt": {"sql_id": 77}}]},
    "a number that is too long": {"requests": [{"type": "execute", "stmt": {"sql_id": 10**40}}]},
    "a stored text twice": {"requests": [{"type": "store_sql", "sql_id": 1, "sql": "SELECT 1"}] * 2},
    "a stored text of no number": {"requests": [{"type": "store_sql", "sql": "SELECT 1"}]},
    "a batch missing": {"requests": [{"type": "batch"}]},
    "steps that are no array": {"requests": [{"type": "batch", "batch": {"steps": {}}}]},
    "a baton that is a number": {"baton": 1, "requests": []},
    "an unknown baton": {"baton": "x", "requests": []},
    "an empty baton": {"baton": "", "requests": []},
    "a long baton": {"baton": "x" * 100_000, "requests": []},
    "a baton with a NUL": {"baton": "a.\0", "requests": []},
    "a baton not ASCII": {"baton": "é.é", "requests": []},
    "too many requests": {"requests": [{"type": "get_autocommit"}] * 20_001},
    "too many steps": {
        "requests": [{"type": "batch", "batch": {"steps": [{"stmt": {"sql": "SELECT 1"}}] * 20_001}}]
    },
    "args that are an object": {"requests": [{"type": "execute", "stmt": {"sql": "SELECT ?", "args": {}}}]},
    "an argument without type": {"requests": [{"type": "execute", "stmt": {"sql": "SELECT ?", "args": [1]}}]},
    "want_rows a text": {"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1", "want_rows": "no"}}]},
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_of_another_form_is_refused(caller: Caller, name: str) -> None:
    for version in ("v2", "v3"):
        target = f"/db/{{name}}/{version}/pipeline"
        answer = caller.post(target, PIPELINES[name])
        check_refusal(answer, caller.target(target))


VALUES: dict[str, Any] = {
    "an integer beyond 64 bits": {"type": "integer", "value": str(2**63)},
    "a negative one": {"type": "integer", "value": str(-(2**63) - 1)},
    "a long one": {"type": "integer", "value": "9" * 5000},
    "a number for an integer": {"type": "integer", "value": 1},
    "a word for an integer": {"type": "integer", "value": "many"},
    "an integer with a space": {"type": "integer", "value": " 1"},
    "an integer with a line end": {"type": "integer", "value": "1\n"},
    "an integer with an underscore": {"type": "integer", "value": "1_000"},
    "other digits": {"type": "integer", "value": "١٢"},
    "hexadecimal": {"type": "integer", "value": "0x10"},
    "an empty integer": {"type": "integer", "value": ""},
    "a text for a float": {"type": "float", "value": "1.5"},
    "an array for a float": {"type": "float", "value": []},
    "a number for a text": {"type": "text", "value": 1},
    "null for a text": {"type": "text", "value": None},
    "no value": {"type": "text"},
    "no type": {"value": "x"},
    "an unknown type": {"type": "date", "value": "x"},
    "a type that is null": {"type": None, "value": "x"},
    "no base64": {"type": "blob", "base64": "!!!"},
    "half base64": {"type": "blob", "base64": "A"},
    "padding inside": {"type": "blob", "base64": "QQ==QQ=="},
    "base64 with a line end": {"type": "blob", "base64": "QU\nFB"},
    "URL base64": {"type": "blob", "base64": "-_-_"},
    "base64 not ASCII": {"type": "blob", "base64": "é" * 4},
    "a number for a blob": {"type": "blob", "base64": 1},
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_is_none_is_refused(caller: Caller, name: str) -> None:
    for stmt in (
        {"sql": "SELECT ?", "args": [VALUES[name]]},
        {"sql": "SELECT :a", "named_args": [{"name": "a", "value": VALUES[name]}]},
    ):
        requests = [{"type": "execute", "stmt": stmt}, {"type": "close"}]
        check_refusal(caller.post("/db/{name}/v3/pipeline", {"requests": requests}), "/db/")
        check_refusal(caller.post("/db/{name}/v1/execute", {"stmt": stmt}), "/db/")


def test_numbers_that_json_does_not_have_are_refused(caller: Caller) -> None:
    for number in (
        b"1e999",
        b"-1e999",
        b"NaN",
        b"Infinity",
        b"1" * 5000,
        b"0x1",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"1e",
    ):
        body = (
            b'{"requests":[{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"float","value":%b}]}}]}'
            % number
        )
        check_refusal(caller.post("/db/{name}/v3/pipeline", body), "/db/")
        body = b'{"requests":[{"type":"store_sql","sql_id":%b,"sql":"SELECT 1"}]}' % number
        check_refusal(caller.post("/db/{name}/v3/pipeline", body), "/db/")


STATEMENTS: dict[str, dict[str, Any]] = {
    "no SQL": {"sql": ""},
    "a comment": {"sql": "-- nothing"},
    "two statements": {"sql": "SELECT 1; SELECT 2"},
    "half a statement": {"sql": "SELECT"},
    "an open quote": {"sql": "SELECT 'x"},
    "an open comment": {"sql": "SELECT 1 /*"},
    "a NUL": {"sql": "SELECT 1\0"},
    "no table": {"sql": "SELECT * FROM nothing"},
    "too few arguments": {"sql": "SELECT ?, ?", "args": [{"type": "null"}]},
    "too many arguments": {"sql": "SELECT ?", "args": [{"type": "null"}] * 3},
    "an unknown name": {"sql": "SELECT :a", "named_args": [{"name": "b", "value": {"type": "null"}}]},
    "both kinds": {
        "sql": "SELECT ?, :a",
        "args": [{"type": "null"}],
        "named_args": [{"name": "a", "value": {"type": "null"}}],
    },
    "a variable too far": {"sql": "SELECT ?999999999"},
    "a very long name": {"sql": "SELECT " + "x" * 1_000_000},
    "a COMMIT of nothing": {"sql": "COMMIT"},
    "a misspelled word": {"sql": "SELEKT 1"},
    "half a character": {"sql": "SELECT CAST(x'ff' AS TEXT)"},
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_that_cannot_run_fails_by_itself(caller: Caller, name: str) -> None:
    requests = [
        {"type": "execute", "stmt": STATEMENTS[name]},
        {"type": "execute", "stmt": {"sql": "SELECT 7"}},
    ]
    answer = caller.post("/db/{name}/v3/pipeline", {"requests": [*requests, {"type": "close"}]})
    assert answer.status == 200, answer
    failed, after, _ = answer.json["results"]
    assert failed["type"] == "error", answer
    assert failed["error"]["message"], answer
    assert re.fullmatch(r"[A-Z_0-9]+", failed["error"]["code"]), answer
    assert after["response"]["result"]["rows"] == [[{"type": "integer", "value": "7"}]]


def _nested(kind: str, depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "ok", "step": 0}
    for _ in range(depth):
        inner = {"type": "not", "cond": inner} if kind == "not" else {"type": kind, "conds": [inner]}
    return inner


CONDITIONS: dict[str, Any] = {
    "itself": {"type": "ok", "step": 1},
    "one that comes later": {"type": "ok", "step": 2},
    "one that never comes": {"type": "error", "step": 99},
    "one before the first": {"type": "ok", "step": -1},
    "one far away": {"type": "ok", "step": 2**40},
    "one beyond all": {"type": "ok", "step": 10**40},
    "a text": {"type": "ok", "step": "0"},
    "a fraction": {"type": "ok", "step": 0.5},
    "no step": {"type": "ok"},
    "an unknown kind": {"type": "maybe", "step": 0},
    "no kind": {},
    "an array": [],
    "a text instead": "ok",
    "not nothing": {"type": "not"},
    "not null": {"type": "not", "cond": None},
    "and of no array": {"type": "and", "conds": {"type": "ok", "step": 0}},
    "very deep not": _nested("not", 400),
    "very deep and": _nested("and", 400),
    "very deep or": _nested("or", 250),
    "one that comes later, hidden": {
        "type": "or",
        "conds": [{"type": "error", "step": 0}, {"type": "ok", "step": 5}],
    },
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_on_what_cannot_be_is_refused_or_not_met(caller: Caller, name: str) -> None:
    steps = [{"stmt": {"sql": "SELECT 1"}}, {"stmt": {"sql": "SELECT 2"}, "condition": CONDITIONS[name]}]
    batch = {"steps": [*steps, {"stmt": {"sql": "SELECT 3"}}]}
    for target, body in (
        ("/db/{name}/v3/pipeline", {"requests": [{"type": "batch", "batch": batch}, {"type": "close"}]}),
        ("/db/{name}/v1/batch", {"batch": batch}),
        ("/db/{name}/v3/cursor", {"batch": batch}),
    ):
        answer = caller.post(target, body)
        if answer.status != 200:
            check_refusal(answer, "/db/")
        elif "deep" not in name:
            assert '"value":"2"' not in answer.body.decode(), answer


def test_conditions_nested_deeper_than_any_decoder_goes_are_refused(caller: Caller) -> None:
    for opening, closing in ((b'{"type":"not","cond":', b"}"), (b'{"type":"and","conds":[', b"]}")):
        condition = opening * 100_000 + b'{"type":"ok","step":0}' + closing * 100_000
        body = b'{"batch":{"steps":[{"stmt":{"sql":"SELECT 1"},"condition":%b}]}}' % condition
        check_refusal(caller.post("/db/{name}/v1/batch", body), "/db/")


def test_a_database_that_is_not_there_is_refused_for_each_endpoint(caller: Caller) -> None:
    token = caller.credentials["access_token"]
    for endpoint in ("v1/execute", "v1/batch", "v2/pipeline", "v3/pipeline", "v3/cursor"):
        for name in ("t-" + "a" * 26, "x", "a" * 64, "a" * 5000, "%00", "-", "T", "é"):
            answer = caller.wire.post(f"/db/{name}/{endpoint}".encode("latin-1"), pipeline("SELECT 1"), token)
            assert answer.status in {400, 404}, answer
            check_refusal(answer, "/db/")


# Chance --------------------------------------------------------------------------------------------

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "150"))
"""For a long run: FUZZ_ROUNDS=20000 pytest tests/e2e/test_bad_input.py -k chance; FUZZ_SEED for another one."""
SEED = int(os.environ.get("FUZZ_SEED", "20"))

SOUND: list[tuple[str, Any]] = [
    (
        "/db/{name}/v3/pipeline",
        {
            "baton": None,
            "requests": [
                {"type": "store_sql", "sql_id": 1, "sql": "SELECT ?"},
                {"type": "execute", "stmt": {"sql_id": 1, "args": [{"type": "integer", "value": "1"}]}},
                {
                    "type": "execute",
                    "stmt": {
                        "sql": "SELECT :a",
                        "named_args": [{"name": ":a", "value": {"type": "blob", "base64": "QQ"}}],
                        "want_rows": True,
                    },
                },
                {
                    "type": "batch",
                    "batch": {
                        "steps": [
                            {"stmt": {"sql": "SELECT 1"}},
                            {
                                "stmt": {"sql": "SELECT 2"},
                                "condition": {
                                    "type": "and",
                                    "conds": [
                                        {"type": "ok", "step": 0},
                                        {"type": "not", "cond": {"type": "error", "step": 0}},
                                        {"type": "is_autocommit"},
                                    ],
                                },
                            },
                        ]
                    },
                },
                {"type": "sequence", "sql": "SELECT 1; SELECT 2"},
                {"type": "describe", "sql": "SELECT ?1, :b"},
                {"type": "get_autocommit"},
                {"type": "close_sql", "sql_id": 1},
                {"type": "close"},
            ],
        },
    ),
    ("/db/{name}/v1/execute", {"stmt": {"sql": "SELECT ?", "args": [{"type": "float", "value": 0.5}]}}),
    ("/db/{name}/v3/cursor", {"baton": None, "batch": {"steps": [{"stmt": {"sql": "SELECT 1"}}]}}),
    ("/api/auth/sign-in/email", {"email": "nobody@example.com", "password": "", "rememberMe": False}),
    ("/api/auth/sign-up/email", {"name": "N", "email": "not an address", "password": PASSWORD, "image": "x"}),
    ("/migrations/verify", {"version": 1}),
    ("/migrations/register", {"sqlScript": "SELEKT 1", "description": "x"}),
]
SPICE: list[Any] = [
    *ODD_VALUES,
    "execute",
    "SELECT 1",
    "BEGIN",
    {"type": "close"},
    [[]],
    {"": ""},
    -0.0,
    1e308,
]


def _spoilt(value: Any, chance: random.Random) -> Any:
    """The same with one thing in it changed, dropped, doubled or moved."""
    if chance.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return chance.choice(SPICE)
    if isinstance(value, list):
        index = chance.randrange(len(value))
        return chance.choice(
            [
                [*value[:index], _spoilt(value[index], chance), *value[index + 1 :]],
                [*value[:index], *value[index + 1 :]],
                [*value, value[index]],
                value[::-1],
            ]
        )
    key = chance.choice(list(value))
    rest = {name: each for name, each in value.items() if name != key}
    return chance.choice(
        [{**value, key: _spoilt(value[key], chance)}, rest, {**rest, key.upper(): value[key]}]
    )


def _mangled(body: bytes, chance: random.Random) -> bytes:
    """The same with a few bytes changed."""
    found = bytearray(body)
    for _ in range(chance.randrange(1, 4)):
        index = chance.randrange(len(found) + 1)
        found[index : index + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(found)


@pytest.mark.timeout(30 + ROUNDS)
def test_what_chance_makes_of_sound_requests_is_answered(caller: Caller) -> None:
    chance = random.Random(SEED)
    for number in range(ROUNDS):
        target, body = SOUND[number % len(SOUND)]
        for _ in range(chance.randrange(1, 4)):
            body = _spoilt(body, chance)
        raw = json.dumps(body).replace("Infinity", "1e999").encode()
        if chance.random() < 0.3:
            raw = _mangled(raw, chance)
        answer = caller.post(target, raw)
        assert answer.status < 500, (number, raw, answer)
        if answer.status >= 400:
            check_refusal(answer, target)
