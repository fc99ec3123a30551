"""Everything that should not be sent, sent to every route: a clear refusal each, quickly, and nothing in the log."""

import json
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed.servers import Service

from tests.e2e.attack_caller import ADMIN, JSON, ODD_VALUES, ApiCaller, caller_on
from tests.e2e.attack_routes import ABSENT, PASSWORD, ROUTES, STRANGERS_RELEASE, same
from tests.e2e.attack_shapes import check_refusal
from tests.e2e.attack_wire import Headers, Wire, bearer


@pytest.fixture(scope="module")
def caller(service: Service) -> Iterator[ApiCaller]:
    with caller_on(service) as found:
        yield found


@pytest.fixture(autouse=True)
def service_stays_well(caller: ApiCaller) -> Iterator[None]:
    yield
    answer = caller.wire.get("/health")
    assert answer.status == 200
    assert answer.took_s < 2


# Bodies --------------------------------------------------------------------------------------------

POSTED = [
    found.target or found.route
    for found in ROUTES
    if "POST" in found.methods and (found.outcomes not in (ABSENT, same(405)) or "get-session" in found.route)
]
TAKES_ANY_JSON = {
    "/api/auth/sign-in/anonymous",
    "/api/auth/api-key/create",
    "/api/auth/sign-out",
    "/api/auth/logout",
    "/api/v1/auth/logout",
    "/api/auth/callback/github",  # passes on what a provider's form may hold, nothing else
}

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
def test_a_body_that_cannot_be_used_is_refused(caller: ApiCaller, target: str, name: str) -> None:
    body = (NOT_JSON | NOT_THE_FORM)[name]
    for chunked in (False, True):
        answer = caller.post(target, body, chunked=chunked)
        if target in TAKES_ANY_JSON and name in NOT_THE_FORM:
            assert answer.status in {200, 302, 400}, answer
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
def test_a_type_that_is_not_known_is_no_fault_of_ours(caller: ApiCaller, target: str) -> None:
    for kind in TYPES:
        for body in (b"email=a%40example.com&password=x", b"--x\r\n\r\n\r\n--x--", b"\x0a\x03abc"):
            answer = caller.post(target, body, (b"Content-Type", kind))
            if target in TAKES_ANY_JSON and answer.status in {200, 302}:
                continue
            check_refusal(answer, target)


LIMITS = {
    "/api/auth/sign-up/email": 64 * 1024,
    "/api/auth/sign-in/email": 64 * 1024,
    "/api/auth/sign-out": 64 * 1024,
    "/api/auth/refresh": 64 * 1024,
    "/api/v1/auth/login": 64 * 1024,
    "/migrations/verify": 2 * 1024 * 1024,
    "/migrations/register": 2 * 1024 * 1024,
    "/migrations/publish": 8 * 1024 * 1024,
    "/db/{name}/v3/pipeline": 10_000_000,
    "/db/{name}/v1/execute": 10_000_000,
}


@pytest.mark.parametrize("target", LIMITS)
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_body_over_the_limit_is_refused_before_it_is_read_whole(
    caller: ApiCaller, target: str, chunked: bool
) -> None:
    body = b'{"a": "' + b"x" * (LIMITS[target] + 100_000) + b'"}'
    answer = caller.post(target, body, chunked=chunked)
    assert answer.status == 413, answer
    check_refusal(answer, target)


@pytest.mark.parametrize(
    "target", ["/db/{name}/v3/pipeline", "/migrations/register", "/migrations/publish", "/api/auth/sign-in/email"]
)
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_even_who_sends_much_more_gets_to_see_why_it_is_refused(caller: ApiCaller, target: str, chunked: bool) -> None:
    body = b"x" * 30_000_000
    before = _memory_mb(caller.service)
    answer = caller.post(target, body, chunked=chunked)
    assert answer.status == 413, answer
    nobody = caller.wire.send("POST", caller.target(target), (JSON,), body, chunked=chunked)
    assert nobody.status in {401, 413}, nobody
    assert _memory_mb(caller.service) - before < 60


@pytest.mark.parametrize("target", LIMITS)
def test_a_length_that_is_only_promised_is_refused_at_once(caller: ApiCaller, target: str) -> None:
    head = (
        f"POST {caller.target(target)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\n"
        f"Authorization: Bearer {caller.token_for(target)}\r\nContent-Length: 99999999999999\r\n\r\n"
    )
    answer = caller.wire.send_bytes(head.encode() + b'{"a": ')
    assert answer.status == 413, answer
    check_refusal(answer, target)


def test_large_bodies_do_not_stay_in_memory(caller: ApiCaller) -> None:
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

COMPLETE: dict[str, dict[str, Any]] = {
    "/api/auth/sign-up/email": {"name": "N", "email": "{new}", "password": PASSWORD},
    "/api/auth/sign-in/email": {"email": ADMIN, "password": PASSWORD, "rememberMe": True, "callbackURL": "/"},
    "/api/auth/refresh": {"refresh_token": "x"},
    "/api/auth/api-key/create": {"name": "n", "prefix": "p_", "expiresIn": 90_000, "metadata": {"a": 1}},
    "/api/auth/api-key/update": {"keyId": "none", "name": "n", "enabled": True, "expiresIn": 90_000},
    "/api/v1/auth/login": {"email": ADMIN, "password": PASSWORD},
    "/api/auth/email-otp/send-verification-otp": {"email": "{new}", "type": "sign-in"},
    "/api/auth/sign-in/email-otp": {"email": "{new}", "otp": "000000", "name": "N", "image": "x"},
    "/api/auth/email-otp/reset-password": {"email": "{new}", "otp": "000000", "password": PASSWORD},
    "/api/auth/request-password-reset": {"email": "{new}", "redirectTo": "/"},
    "/api/auth/reset-password": {"newPassword": PASSWORD, "token": "x"},
    "/api/auth/send-verification-email": {"email": "{new}", "callbackURL": "/"},
    "/api/auth/change-email": {"newEmail": "{new}", "callbackURL": "/"},
    "/api/auth/update-user": {"name": "N", "image": "x", "email": ""},
    "/api/auth/revoke-session": {"token": "x"},
    "/migrations/verify": {"version": 1},
    "/migrations/register": {"sqlScript": "{sql}", "description": "one more"},
    "/migrations/publish": {**STRANGERS_RELEASE, "force": False, "dry_run": False},
}


@pytest.mark.parametrize(
    ("target", "field"),
    [(target, field) for target, body in COMPLETE.items() for field in body]
    + [("/api/auth/sign-up/email", field) for field in ("image", "callbackURL", "rememberMe", "role", "id")],
)
def test_a_field_with_an_odd_value_is_refused_or_harmless(caller: ApiCaller, target: str, field: str) -> None:
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
def test_a_query_that_cannot_be_used_is_refused(caller: ApiCaller, target: str) -> None:
    answer = caller.wire.get(target, caller.admin_token)
    assert answer.status == 400, answer
    check_refusal(answer, target)


@pytest.mark.parametrize("target", HARMLESS_QUERIES, ids=lambda target: target[:60])
def test_a_query_that_nobody_asks_for_does_nothing(caller: ApiCaller, target: str) -> None:
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
    b"/migrations/7777",
    b"/migrations/" + b"7" * 5_000,
    b"/migrations/-7",
    b"/migrations/%00",
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
    b"/admin/nothing",
    b"/console",
    b"/metrics/",
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: repr(path[:50]))
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_that_leads_nowhere_says_so(caller: ApiCaller, path: bytes, method: str) -> None:
    token = caller.token_for("/db" if path.startswith(b"/db") else "")
    answer = caller.wire.send(method, path, (JSON, bearer(token)), b"{}" if method == "POST" else b"")
    if answer.status == 200:  # another spelling of one that leads somewhere
        assert method == "GET"
        assert path in {
            b"/health/",
            b"/metrics/",
            b"/api/auth//ok",
            b"/health#" + b"x" * 100,
            b"/schema/../../../etc/passwd",
        }
        return
    check_refusal(answer, b"/x" if path == b"*" else path)


@pytest.mark.parametrize(
    "method", ["PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "HEAD", "PROPFIND", "get", "QUERY", "X" * 300, "G\0T", ""]
)
def test_a_method_that_is_not_known_is_refused(caller: ApiCaller, method: str) -> None:
    for route in sorted({row.target or row.route for row in ROUTES}):
        target = caller.target(route)
        answer = caller.wire.send(method, target, (JSON, bearer(caller.token_for(target))), b"{}")
        if method == "OPTIONS" and answer.status == 204:
            assert {"GET", "POST", "DELETE"} & set(answer.header("allow").split(", ")), answer
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
    "many": tuple((b"X-%d" % number, b"x") for number in range(90)),
    "a long cookie": ((b"Cookie", b"better-auth.session_token=" + b"x" * 60_000),),
    "many cookies": ((b"Cookie", b"; ".join(b"c%d=%d" % (n, n) for n in range(5000))),),
    "many session cookies": ((b"Cookie", b"; ".join([b"better-auth.session_token=a.b"] * 500)),),
    "a bad cookie": ((b"Cookie", b"better-auth.session_token=%ff%00.%%%; ;;=;=x; \xff\xfe"),),
    "a signed-looking cookie": ((b"Cookie", b"better-auth.session_token=" + b"a" * 32 + b"." + b"A" * 43 + b"%3D"),),
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
    "odd forwarding": ((b"X-Forwarded-For", b",,, ,\xff, 999.1.1.1, ::ffff:1.2.3.4%x"), (b"Forwarded", b"for=;")),
    "odd conditions": (
        (b"If-None-Match", b'"\xff", W/, ,*, ' + b'"x",' * 5000),
        (b"If-Match", b"x"),
        (b"If-Modified-Since", b"yesterday"),
        (b"If-Unmodified-Since", b"\xff"),
        (b"If-Range", b"x"),
        (b"Range", b"bytes=-99999999999999999999-"),
    ),
    "odd accept": ((b"Accept", b"q=;/;*" * 100), (b"Accept-Encoding", b"\xff"), (b"Accept-Language", b"x" * 5000)),
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
def test_odd_headers_are_refused_or_do_nothing(caller: ApiCaller, name: str) -> None:
    headers = ODD_HEADERS[name]
    for target in ("/health", "/api/auth/get-session", "/databases/user", "/migrations?after=3", "/migrations/full"):
        answer = caller.wire.send("GET", target, headers)
        if answer.status not in {200, 304}:
            check_refusal(answer, target)
    for target in ("/api/auth/sign-in/email", "/migrations/register", caller.target("/db/{name}/v3/pipeline")):
        own: Headers = () if any(n == b"Content-Length" for n, _ in headers) else ((b"Content-Length", b"2"),)
        answer = caller.wire.send("POST", target, (*headers, *own, JSON), b"{}")
        check_refusal(answer, target)
    preflight = caller.wire.send("OPTIONS", "/migrations/register", headers)
    assert preflight.status in {204, 400}, preflight


def test_half_a_request_holds_nobody_else_up(caller: ApiCaller) -> None:
    peers = [socket.create_connection(("127.0.0.1", caller.service.port)) for _ in range(150)]
    try:
        for number, peer in enumerate(peers):
            head = b"POST /api/auth/sign-in/email HTTP/1.1\r\nHost: x\r\n"
            peer.sendall(head if number % 2 else head + b"Content-Length: 100\r\n\r\n{")
        assert caller.wire.get("/api/auth/get-session", caller.person.token).took_s < 2
    finally:
        for peer in peers:
            peer.close()


@pytest.mark.parametrize("target", ["/db/x/v3/pipeline", "/migrations/register", "/api/auth/none", "/none", "/health"])
def test_a_body_that_nobody_reads_is_not_taken_for_more_requests(caller: ApiCaller, target: str) -> None:
    inside = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 3000
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(inside)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", caller.service.port), timeout=5) as peer:
        peer.sendall(head)
        time.sleep(0.02)  # so that it may be refused already
        peer.sendall(inside + b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: peer.recv(65_536), b""))
    assert received.count(b"HTTP/1.1 ") == 2, received[:2000]
    assert b'"ready"' in received


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_path_writes_lines_of_its_own_into_the_log(tmp_path: Path, log_format: str) -> None:
    service = Service(tmp_path, LOG_FORMAT=log_format).start()
    try:
        Wire(service.port).get("/%0aFORGED%0d%0aFORGED%1b[2JFORGED%e2%80%a8FORGED%c2%85FORGED%c2%9b2J")
    finally:
        service.stop()
    lines = [line for line in service.log().splitlines() if "FORGED" in line]
    assert len(lines) == 1, lines
    assert lines[0].isprintable(), lines


def test_what_is_no_http_is_refused(caller: ApiCaller) -> None:
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
