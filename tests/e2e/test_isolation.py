"""One user's credentials against another's database, in every way we could think of: all refused, nothing told.

After each attack the victim's rows are read again, and no answer may hold a row, token or address of the victim's,
nor a path of the server's disk (see `Wire.secrets`).
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest

from tests.e2e.attack_wire import Answer, Headers, bearer
from tests.e2e.attack_world import (
    HOMES,
    MINE,
    STRANGER,
    Neighbours,
    claims,
    hmac_signed,
    pipeline,
    public_jwk,
    public_pem,
    public_raw,
    signed,
    spliced,
    still_whole,
    unsigned,
    world_in,
)

JSON = (b"Content-Type", b"application/json")
READ = json.dumps(pipeline("SELECT x FROM marker")).encode()


@pytest.fixture(scope="module", params=HOMES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbours]:
    with world_in(request.param, tmp_path_factory.mktemp("isolation")) as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_is_lost(world: Neighbours) -> Iterator[None]:
    before = world.files()
    yield
    still_whole(world)
    assert world.files() == before


# URL -----------------------------------------------------------------------------------------------

TARGETS = [
    "/db/{b}/v3/pipeline",
    "/db/{b}/v2/pipeline",
    "/db/{b}/v1/execute",
    "/db/{b}/v1/batch",
    "/db/{b}/v3/cursor",
    "/db/{b}/v3/pipeline/",
    "/db/{b}/v3/pipeline//",
    "/db/{b}/v3%2fpipeline",
    "/db/{b}",
    "/db/{b}/",
    "/db//{b}/v3/pipeline",
    "//db/{b}/v3/pipeline",
    "/db///{b}///v3///pipeline",
    "/db/./{b}/v3/pipeline",
    "/db/{a}/../{b}/v3/pipeline",
    "/db/{a}/%2e%2e/{b}/v3/pipeline",
    "/db/{a}/.%2e/{b}/v3/pipeline",
    "/db/{a}%2f..%2f{b}/v3/pipeline",
    "/db/{a}%252f..%252f{b}/v3/pipeline",
    "/db/{a}/v3/pipeline/../../../{b}/v3/pipeline",
    "/db/{b}/../{a}/v3/pipeline",
    "/db/{b}/v1/../v3/pipeline",
    "/db/{a}%5c..%5c{b}/v3/pipeline",
    "/db/{b}\\v3\\pipeline",
    "/db/{b}%00/v3/pipeline",
    "/db/{a}%00{b}/v3/pipeline",
    "/db/{b}%00{a}/v3/pipeline",
    "/db/{b}./v3/pipeline",
    "/db/{b}.db/v3/pipeline",
    "/db/{b}%20/v3/pipeline",
    "/db/%20{b}/v3/pipeline",
    "/db/{b}%09/v3/pipeline",
    "/db/{b}%0a/v3/pipeline",
    "/db/{B}/v3/pipeline",
    "/DB/{b}/v3/pipeline",
    "/db/{b}/V3/PIPELINE",
    "/db/%e2%80%8b{b}/v3/pipeline",  # zero-width space
    "/db/%ef%bd%94{b}/v3/pipeline",  # full-width letter
    "/db/%d1%82{b}/v3/pipeline",  # look-alike
    "/db/%ff{b}/v3/pipeline",
    "/db/{b};{a}/v3/pipeline",
    "/db/{a},{b}/v3/pipeline",
    "/db/{a}@{b}/v3/pipeline",
    "/db/*/v3/pipeline",
    "/db/%25/v3/pipeline",
    "/db/{b}?/v3/pipeline",
    "/db/{b}/v3/pipeline?name={a}&db={a}&namespace={a}",
    "/db/dev/{b}/v3/pipeline",
    "/dev/{b}/v3/pipeline",
    "/dev/{a}/../{b}/v3/pipeline",
    "/{b}/v3/pipeline",
    "/v3/pipeline",
    "/v3/pipeline?db={b}",
    "/db/{b}/export/0",
    "/db/{b}/info",
    "/db/{b}/sync/0/0/0",
    "/db/{b}/pull-updates",
    "/db/{b}/dump",
    "/db/{b}/health",
    "/db/{b}/beta/listen",
    "/v1/namespaces/{b}/config",
    "/db/..%2f..%2fcentral/v3/pipeline",
    "/db/..%2fcentral.db/v3/pipeline",
    "/db/central/v3/pipeline",
    "/api/auth/../../db/{b}/v3/pipeline",
    "/schema/..%2f..%2fdb%2f{b}%2fv3%2fpipeline",
    "http://{b}.example.com/db/{b}/v3/pipeline",
    "http://127.0.0.1/db/{a}/../{b}/v3/pipeline",
    "{b}/v3/pipeline",
]


@pytest.mark.parametrize("target", TARGETS)
def test_no_spelling_of_a_url_leads_to_anothers_database(world: Neighbours, target: str) -> None:
    answer = world.wire.send("POST", world.fill(target), (JSON, bearer(world.a_token)), READ)
    assert answer.status in {400, 404, 405}, answer

    def of_nobody(text: str) -> str:
        """The same name with its letters turned: nobody has it."""
        for word in ("b", "B"):
            text = text.replace("{" + word + "}", world.words[word][:2] + world.words[word][:1:-1])
        return world.fill(text)

    absent = world.wire.send("POST", of_nobody(target), (JSON, bearer(world.a_token)), READ)
    assert _faceless(absent) == _faceless(answer), "the answer tells whether the database exists"


def _faceless(answer: Answer) -> tuple[int, str]:
    """Without the names that stood in the request and come back in the message."""
    if not answer.body.startswith(b"{"):
        return answer.status, answer.body.decode()
    found = answer.json
    message = str(found.get("message", found.get("detail")))
    return answer.status, f"{found['code']}: {''.join(message.split('`')[::2])}"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"])
def test_no_method_reads_or_removes_anothers_database(world: Neighbours, method: str) -> None:
    for target in ("/db/{b}/v3/pipeline", "/db/{b}/", "/db/{b}", "/db/{b}/v1/execute"):
        answer = world.wire.send(method, world.fill(target), (JSON, bearer(world.a_token)), READ)
        assert answer.status in {404, 405}, (target, answer)


def test_no_websocket_opens_anothers_database(world: Neighbours) -> None:
    answer = world.wire.send(
        "GET",
        world.fill("/db/{b}/"),
        (
            bearer(world.a_token),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            (b"Sec-WebSocket-Version", b"13"),
            (b"Sec-WebSocket-Protocol", b"hrana3"),
        ),
    )
    assert answer.status in {400, 403, 404, 426}, answer


# Headers -------------------------------------------------------------------------------------------

NAMING_HEADERS = [
    "Host: {b}",
    "Host: {b}.localhost",
    "Host: {b}.127.0.0.1.nip.io",
    "x-namespace: {b}",
    "x-namespace-bin: {b64}",
    "x-libsql-namespace: {b}",
    "x-turso-db: {b}",
    "X-Forwarded-Host: {b}.localhost",
    "X-Forwarded-Prefix: /db/{b}",
    "X-Forwarded-Uri: /db/{b}/v3/pipeline",
    "X-Forwarded-For: 127.0.0.1",
    "X-Real-IP: 127.0.0.1",
    "Forwarded: host={b};for=127.0.0.1",
    "X-Original-URL: /db/{b}/v3/pipeline",
    "X-Rewrite-URL: /db/{b}/v3/pipeline",
    "X-Original-Host: {b}",
    "X-HTTP-Method-Override: GET",
    "X-User-Id: {b_user}",
    "X-Forwarded-User: {b_email}",
    "Cookie: db={b}; namespace={b}; user_id={b_user}",
    "Referer: http://{b}.localhost/db/{b}/",
    "Origin: http://{b}.localhost",
]


@pytest.mark.parametrize("line", NAMING_HEADERS)
def test_no_header_names_a_database(world: Neighbours, line: str) -> None:
    name, _, value = world.fill(line).partition(": ")
    extra = (name.encode(), value.encode())
    own = world.wire.send("POST", world.fill("/db/{a}/v3/pipeline"), (JSON, bearer(world.a_token), extra), READ)
    assert own.status == 200, own
    assert MINE.encode() in own.body
    other = world.wire.send("POST", world.fill("/db/{b}/v3/pipeline"), (JSON, bearer(world.a_token), extra), READ)
    assert other.status == 404, other


CREDENTIALS_ELSEWHERE: list[tuple[str, list[str], set[int]]] = [
    ("/db/{b}/v3/pipeline", [], {401}),
    ("/db/{b}/v3/pipeline?authToken={token}", [], {401}),
    ("/db/{b}/v3/pipeline?jwt={token}&access_token={token}&token={token}", [], {401}),
    ("/db/{b}/v3/pipeline", ["Cookie: authToken={token}; access_token={token}"], {401}),
    ("/db/{b}/v3/pipeline", ["X-Authorization: Bearer {token}"], {401}),
    ("/db/{b}/v3/pipeline", ["Proxy-Authorization: Bearer {token}"], {401}),
    ("/db/{b}/v3/pipeline", ["x-proxy-authorization: Bearer {token}"], {401}),
    ("/db/{b}/v3/pipeline", ["Authorization: {token}"], {401}),
    ("/db/{b}/v3/pipeline", ["Authorization: Bearer"], {401}),
    ("/db/{b}/v3/pipeline", ["Authorization: "], {401}),
    ("/db/{b}/v3/pipeline", ["Authorization: Basic OnRva2Vu"], {401}),
    ("/db/{b}/v3/pipeline", ["Authorization: Bearer {session}"], {401}),
    ("/db/{b}/v3/pipeline", ["Authorization: Bearer {token}", "Authorization: Bearer x"], {401, 404}),
    ("/db/{b}/v3/pipeline", ["Authorization: Bearer x", "Authorization: Bearer {token}"], {401, 404}),
    ("/db/{b}/v3/pipeline", ["Authorization: Bearer {token}, Bearer {token}"], {401, 404}),
    ("/db/{b}/v3/pipeline", ["Authorization: Bearer {token} {b}"], {401, 404}),
    ("/db/{b}/v3/pipeline", ["Authorization: bEaReR   {token}"], {404}),
    ("/db/{a}/v3/pipeline", ["Authorization: Bearer {session}"], {401}),
    ("/db/{a}/v3/pipeline", ["Cookie: better-auth.session_token={session}"], {401}),
    ("/db/{a}/v3/pipeline", ["Authorization: Bearer x", "Authorization: Bearer {token}"], {401}),
]


@pytest.mark.parametrize(("target", "lines", "expected"), CREDENTIALS_ELSEWHERE)
def test_credentials_count_only_where_they_belong(
    world: Neighbours, target: str, lines: list[str], expected: set[int]
) -> None:
    pairs = [world.fill(line).partition(":") for line in lines]
    headers: Headers = tuple((name.encode(), value.strip().encode()) for name, _, value in pairs)
    answer = world.wire.send("POST", world.fill(target), (JSON, *headers), READ)
    assert answer.status in expected, answer
    in_body = {**pipeline("SELECT x FROM marker"), "authToken": world.a_token, "jwt": world.a_token}
    answer = world.wire.send("POST", world.fill(target), (JSON, *headers), json.dumps(in_body).encode())
    assert answer.status in expected, answer


# Tokens --------------------------------------------------------------------------------------------

Forge = Callable[[Neighbours], str]
FAR = 4_000_000_000


def _ours(world: Neighbours) -> Any:
    return world.key("database-tokens.pem")


# Only the service could sign with its own key; these must not open anything even so.
MISFORMED: dict[str, Forge] = {
    "no exp": lambda w: signed(_ours(w), claims(w, exp=None)),
    "exp as text": lambda w: signed(_ours(w), {**claims(w, exp=None), "exp": str(FAR)}),
    "exp infinite": lambda w: signed(_ours(w), claims(w, exp=float("inf"))),
    "exp not a number": lambda w: signed(_ours(w), claims(w, exp=float("nan"))),
    "exp true": lambda w: signed(_ours(w), claims(w, exp=True)),
    "exp a list": lambda w: signed(_ours(w), claims(w, exp=[FAR])),
    "expired": lambda w: signed(_ours(w), claims(w, exp=int(time.time()) - 60)),
    "expired long ago": lambda w: signed(_ours(w), claims(w, exp=-FAR)),
    "not valid yet": lambda w: signed(_ours(w), claims(w, nbf=int(time.time()) + 600)),
    "no a": lambda w: signed(_ours(w), claims(w, a=None)),
    "a a list": lambda w: signed(_ours(w), claims(w, a=["rw"])),
    "a in capitals": lambda w: signed(_ours(w), claims(w, a="RW")),
    "a unknown": lambda w: signed(_ours(w), claims(w, a="admin")),
    "no id": lambda w: signed(_ours(w), claims(w, id=None)),
    "id empty": lambda w: signed(_ours(w), claims(w, id="")),
    "id a list": lambda w: signed(_ours(w), claims(w, id=[w.b_name])),
    "id an object": lambda w: signed(_ours(w), claims(w, id={w.b_name: True})),
    "id true": lambda w: signed(_ours(w), claims(w, id=True)),
    "id a pattern": lambda w: signed(_ours(w), claims(w, id="*")),
    "id a prefix": lambda w: signed(_ours(w), claims(w, id=w.b_name[:-1])),
    "id in capitals": lambda w: signed(_ours(w), claims(w, id=w.b_name.upper())),
    "id with a NUL": lambda w: signed(_ours(w), claims(w, id=f"{w.b_name}\0")),
    "id of two": lambda w: signed(_ours(w), claims(w, id=f"{w.a_name},{w.b_name}")),
    "p a text": lambda w: signed(_ours(w), claims(w, p=w.b_name)),
    "p empty beside id": lambda w: signed(_ours(w), claims(w, p={})),
    "p names a text": lambda w: signed(_ours(w), claims(w, p={"rw": {"ns": w.b_name}})),
    "p names a pattern": lambda w: signed(_ours(w), claims(w, p={"rw": {"ns": ["*"]}})),
    "p names an object": lambda w: signed(_ours(w), claims(w, p={"rw": {"ns": {w.b_name: 1}}})),
    "p of another level": lambda w: signed(_ours(w), claims(w, p={"roa": {"ns": [w.b_name]}})),
    "p without ns": lambda w: signed(_ours(w), claims(w, p={"rw": {"tags": None}})),
    "p names the attacker, id the victim": lambda w: signed(_ours(w), claims(w, p={"rw": {"ns": [w.a_name]}})),
    "claims of another database": lambda w: signed(_ours(w), claims(w, id=w.a_name)),
}

FORGED: dict[str, Forge] = {
    "another payload": lambda w: spliced(w.a_token, claims(w)),
    "another payload, alg none": lambda w: spliced(w.a_token, claims(w), alg="none"),
    "alg none": lambda w: unsigned(claims(w), alg="none"),
    "alg None": lambda w: unsigned(claims(w), alg="None"),
    "alg empty": lambda w: unsigned(claims(w), alg=""),
    "alg a list": lambda w: unsigned(claims(w), alg=["none", "EdDSA"]),
    "alg null": lambda w: unsigned(claims(w), alg=None),
    "no alg": lambda w: unsigned(claims(w)),
    "EdDSA, no signature": lambda w: unsigned(claims(w), alg="EdDSA"),
    "EdDSA, zeros": lambda w: unsigned(claims(w), bytes(64), alg="EdDSA"),
    "EdDSA, too short": lambda w: unsigned(claims(w), b"x", alg="EdDSA"),
    "HS256 with our public key": lambda w: hmac_signed(claims(w), public_pem(_ours(w))),
    "HS256 with our raw public key": lambda w: hmac_signed(claims(w), public_raw(_ours(w))),
    "HS256 with the registry's public key": lambda w: hmac_signed(claims(w), public_pem(w.key("registry.pem"))),
    "HS256 with nothing": lambda w: hmac_signed(claims(w), b""),
    "another key": lambda w: signed(STRANGER, claims(w)),
    "the registry's key": lambda w: signed(w.key("registry.pem"), claims(w)),
    "another key, p": lambda w: signed(STRANGER, claims(w, p={"rw": {"ns": [w.b_name]}})),
    "another key, far future": lambda w: signed(STRANGER, claims(w, iat=FAR, exp=FAR * 2)),
    "another key, kid a path": lambda w: signed(STRANGER, claims(w), kid="../../../../dev/null"),
    "another key, kid SQL": lambda w: signed(STRANGER, claims(w), kid="' UNION SELECT 'x"),
    "another key in jwk": lambda w: signed(STRANGER, claims(w), jwk=public_jwk(STRANGER)),
    "another key in jku": lambda w: signed(STRANGER, claims(w), jku="http://127.0.0.1:1/jwks.json"),
    "another key in x5u": lambda w: signed(STRANGER, claims(w), x5u="http://127.0.0.1:1/x", x5c=["AA=="]),
    "crit unknown": lambda w: signed(STRANGER, claims(w), crit=["b64"], b64=False),
    "two tokens": lambda w: f"{w.a_token}.{unsigned(claims(w), alg='none')}",
    "the token, cut": lambda w: w.a_token[:-8],
    "the token twice": lambda w: w.a_token * 2,
    "the session": lambda w: w.a.token,
    "a NUL in it": lambda w: w.a_token[:20] + "\0" + w.a_token[20:],
    "no base64": lambda _: "!!!.???.***",
    "only dots": lambda _: "..",
    "five parts": lambda _: "a.b.c.d.e",
    "not ASCII": lambda _: "кириллица.токен.подпись",
    "an array for a header": lambda _: "W10.W10.",
    "deep JSON": lambda _: "e" * 3000 + ".W10.",
    "very long": lambda _: "a" * 6000,
}


@pytest.mark.parametrize("name", [*MISFORMED, *FORGED])
def test_no_token_but_its_own_opens_a_database(world: Neighbours, name: str) -> None:
    token = (MISFORMED | FORGED)[name](world)
    answer = world.run("SELECT x FROM marker", token=token, name=world.b_name)
    assert answer.status in {400, 401, 404}, answer
    own = world.run("SELECT x FROM marker", token=token)
    if name not in {"claims of another database", "p names the attacker, id the victim"}:
        assert own.status != 200, "it opens the attacker's own"


def test_a_database_token_is_no_session(world: Neighbours) -> None:
    as_cookie = (b"Cookie", f"better-auth.session_token={world.a_token}".encode())
    for header in (bearer(world.a_token), as_cookie):
        answer = world.wire.send("GET", "/databases/user", (header,))
        assert answer.status == 401, answer
        answer = world.wire.send("GET", "/api/auth/get-session", (header,))
        assert (answer.status, answer.json) == (200, None)
        answer = world.wire.send("POST", "/migrations/register", (header, JSON), b"{}")
        assert answer.status in {401, 403}, answer


QUESTIONS = [
    "/databases/user",
    "/databases/user?user_id={b_user}",
    "/databases/user?id={b_user}&user={b_email}&email={b_email}&db_name={b}",
    "/databases/user?access_level=full&access_level=read_only",
    "/databases/user/",
    "/databases//user",
    "/databases/user?X-User-Id={b_user}",
]


@pytest.mark.parametrize("target", QUESTIONS)
def test_credentials_are_only_ever_the_callers_own(world: Neighbours, target: str) -> None:
    named = tuple((name, world.b.user_id.encode()) for name in (b"X-User-Id", b"X-Forwarded-User", b"X-Act-As"))
    answer = world.wire.send("GET", world.fill(target), (bearer(world.a.token), *named))
    assert answer.status in {200, 400}, answer
    if answer.status == 200:
        assert (answer.json["user_id"], answer.json["db_name"]) == (world.a.user_id, world.a_name)
        inside = jwt.decode(answer.json["access_token"], options={"verify_signature": False})
        assert inside["id"] == world.a_name
        assert "p" not in inside


@pytest.mark.parametrize("target", ["/databases/{b_user}", "/databases/{b}", "/databases", "/databases/user/{b_user}"])
def test_nobody_elses_database_has_a_url(world: Neighbours, target: str) -> None:
    answer = world.wire.get(world.fill(target), world.a.token)
    assert answer.status == 404, answer


@pytest.mark.parametrize(
    "presented",
    [
        "Bearer {b_user}",
        "Bearer {b_email}",
        "Bearer {session}.{b_user}",
        "Bearer {b_user}.{session}",
        "Bearer null",
        "Bearer undefined",
        "Bearer %00",
        "Bearer {session}%00",
        "Bearer *",
        "Bearer ' OR '1'='1",
        "Bearer {token}",
    ],
)
def test_nothing_but_its_token_is_a_session(world: Neighbours, presented: str) -> None:
    header = (b"Authorization", world.fill(presented).encode())
    assert world.wire.send("GET", "/databases/user", (header,)).status == 401
    answer = world.wire.send("GET", "/api/auth/get-session", (header,))
    assert (answer.status, answer.json) == (200, None)
    cookie = (b"Cookie", b"better-auth.session_token=" + header[1].removeprefix(b"Bearer "))
    assert world.wire.send("GET", "/databases/user", (cookie,)).status == 401
