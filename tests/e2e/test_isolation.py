"""One user's credentials against another's database, in every way we could think of: all refused, nothing told.

After each attack the victim's rows are read again, and no answer may hold a row, token or address of the victim's,
nor a path of the server's disk (see `Wire.secrets`).
"""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest

from tests.e2e.attack_wire import Answer, Headers, bearer
from tests.e2e.attack_world import (
    MINE,
    STRANGER,
    WAYS,
    World,
    claims,
    hmac_signed,
    pipeline,
    public_jwk,
    public_pem,
    public_raw,
    run_by,
    signed,
    spliced,
    still_whole,
    unsigned,
    world_on,
)
from tests.servers import Service

JSON = (b"Content-Type", b"application/json")
READ = json.dumps(pipeline("SELECT x FROM marker")).encode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With a short limit on time, as some of the SQL below never ends."""
    running = Service(tmp_path_factory.mktemp("isolation"), TENANT_QUERY_TIMEOUT_S="0.4").start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def world(service: Service) -> Iterator[World]:
    with world_on(service) as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_is_lost(world: World) -> Iterator[None]:
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
def test_no_spelling_of_a_url_leads_to_anothers_database(world: World, target: str) -> None:
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
def test_no_method_reads_or_removes_anothers_database(world: World, method: str) -> None:
    for target in ("/db/{b}/v3/pipeline", "/db/{b}/", "/db/{b}", "/db/{b}/v1/execute"):
        answer = world.wire.send(method, world.fill(target), (JSON, bearer(world.a_token)), READ)
        assert answer.status in {404, 405}, (target, answer)


def test_no_websocket_opens_anothers_database(world: World) -> None:
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
def test_no_header_names_a_database(world: World, line: str) -> None:
    name, _, value = world.fill(line).partition(": ")
    extra = (name.encode(), value.encode())
    own = world.wire.send(
        "POST", world.fill("/db/{a}/v3/pipeline"), (JSON, bearer(world.a_token), extra), READ
    )
    assert own.status == 200, own
    assert MINE.encode() in own.body
    other = world.wire.send(
        "POST", world.fill("/db/{b}/v3/pipeline"), (JSON, bearer(world.a_token), extra), READ
    )
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
    world: World, target: str, lines: list[str], expected: set[int]
) -> None:
    pairs = [world.fill(line).partition(":") for line in lines]
    headers: Headers = tuple((name.encode(), value.strip().encode()) for name, _, value in pairs)
    answer = world.wire.send("POST", world.fill(target), (JSON, *headers), READ)
    assert answer.status in expected, answer
    in_body = {**pipeline("SELECT x FROM marker"), "authToken": world.a_token, "jwt": world.a_token}
    answer = world.wire.send("POST", world.fill(target), (JSON, *headers), json.dumps(in_body).encode())
    assert answer.status in expected, answer


# Tokens --------------------------------------------------------------------------------------------

Forge = Callable[[World], str]
FAR = 4_000_000_000


def _ours(world: World) -> Any:
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
    "p names the attacker, id the victim": lambda w: signed(
        _ours(w), claims(w, p={"rw": {"ns": [w.a_name]}})
    ),
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
    "HS256 with the registry's public key": lambda w: hmac_signed(
        claims(w), public_pem(w.key("registry.pem"))
    ),
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
def test_no_token_but_its_own_opens_a_database(world: World, name: str) -> None:
    token = (MISFORMED | FORGED)[name](world)
    answer = world.run("SELECT x FROM marker", token=token, name=world.b_name)
    assert answer.status in {400, 401, 404}, answer
    own = world.run("SELECT x FROM marker", token=token)
    if name not in {"claims of another database", "p names the attacker, id the victim"}:
        assert own.status != 200, "it opens the attacker's own"


def test_a_database_token_is_no_session(world: World) -> None:
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
def test_credentials_are_only_ever_the_callers_own(world: World, target: str) -> None:
    named = tuple(
        (name, world.b.user_id.encode()) for name in (b"X-User-Id", b"X-Forwarded-User", b"X-Act-As")
    )
    answer = world.wire.send("GET", world.fill(target), (bearer(world.a.token), *named))
    assert answer.status in {200, 400}, answer
    if answer.status == 200:
        assert (answer.json["user_id"], answer.json["db_name"]) == (world.a.user_id, world.a_name)
        inside = jwt.decode(answer.json["access_token"], options={"verify_signature": False})
        assert inside["id"] == world.a_name
        assert "p" not in inside


@pytest.mark.parametrize(
    "target", ["/databases/{b_user}", "/databases/{b}", "/databases", "/databases/user/{b_user}"]
)
def test_nobody_elses_database_has_a_url(world: World, target: str) -> None:
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
def test_nothing_but_its_token_is_a_session(world: World, presented: str) -> None:
    header = (b"Authorization", world.fill(presented).encode())
    assert world.wire.send("GET", "/databases/user", (header,)).status == 401
    answer = world.wire.send("GET", "/api/auth/get-session", (header,))
    assert (answer.status, answer.json) == (200, None)
    cookie = (b"Cookie", b"better-auth.session_token=" + header[1].removeprefix(b"Bearer "))
    assert world.wire.send("GET", "/databases/user", (cookie,)).status == 401


# SQL -----------------------------------------------------------------------------------------------

REFUSED_SQL = [
    "ATTACH '{file}' AS b",
    "ATTACH DATABASE '{file}' AS b",
    'ATTACH "{file}" AS b',
    "ATTACH `{file}` AS b",
    "ATTACH [{file}] AS b",
    "attach 'file:{file}' as b",
    "attach 'file:{file}?mode=ro&immutable=1' as b",
    "ATTACH 'file://{file}' AS b",
    "ATTACH 'file://localhost{file}?vfs=unix-none' AS b",
    "ATTACH '{up}' AS b",
    "ATTACH '{central}' AS b",
    "ATTACH x'{hex}' AS b",
    "ATTACH CAST(x'{hex}' AS TEXT) AS b",
    "ATTACH '/' || substr('{file}', 2) AS b",
    "ATTACH (SELECT '{file}') AS b",
    "ATTACH ':memory:' AS b",
    "ATTACH '' AS b",
    "ATTACH ? AS b",
    "/**/aTtAcH/**/'{file}'/**/As/**/b",
    "--\nATTACH '{file}' AS b",
    ";;ATTACH '{file}' AS b",
    "\ufeffATTACH '{file}' AS b",
    "EXPLAIN ATTACH '{file}' AS b",
    "EXPLAIN QUERY PLAN ATTACH '{file}' AS b",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO '{dir}/stolen.db'",
    "VACUUM main INTO 'file:{dir}/stolen.db'",
    "SELECT * FROM b.marker",
    'SELECT * FROM "{file}"',
    "SELECT * FROM '{file}'.marker",
    "CREATE TABLE '{file}'.x (a)",
    "SELECT readfile('{file}')",
    "SELECT \"readfile\"('{file}')",
    "SELECT [readfile]('{file}')",
    "SELECT `readfile` ('{file}')",
    "SELECT ReadFile/**/('{file}')",
    "SELECT writefile('{file}', 'x')",
    "SELECT * FROM fsdir('{dir}')",
    "SELECT * FROM fsdir WHERE path = '{dir}'",
    "SELECT lsmode(1)",
    "SELECT edit('x', 'cat {file}')",
    "SELECT load_extension('{dir}/x.so')",
    "SELECT load_extension('libc.so.6', 'system')",
    "SELECT fts3_tokenizer('simple', x'0000000000000000')",
    "SELECT sqlite_log(1, 'x')",
    "SELECT eval('ATTACH ''{file}'' AS b')",
    "CREATE VIRTUAL TABLE v USING csv(filename='{file}')",
    "CREATE VIRTUAL TABLE v USING vsv(filename='{file}')",
    "CREATE VIRTUAL TABLE v USING zipfile('{file}')",
    "CREATE VIRTUAL TABLE v USING fsdir",
    "CREATE VIRTUAL TABLE v USING unionvtab('{file}')",
    "CREATE VIRTUAL TABLE v USING swarmvtab('SELECT ''{file}'', ''marker'', 1, 9')",
    "CREATE VIRTUAL TABLE v USING sqlite_dbpage",
    "CREATE VIRTUAL TABLE v USING dbstat",
    "CREATE VIRTUAL TABLE v USING fts3(a, tokenize=icu)",
    'CREATE VIRTUAL TABLE v USING "{file}"(a)',
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM sqlite_dbdata('{file}')",
    "SELECT * FROM sqlite_stmt",
    "SELECT * FROM completion('a')",
    "PRAGMA database_list",
    "SELECT * FROM pragma_database_list",
    "SELECT file FROM pragma_database_list()",
    "PRAGMA temp_store_directory = '{dir}'",
    "PRAGMA data_store_directory = '{dir}'",
    "PRAGMA temp_store = 1",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA journal_mode = MEMORY",
    "PRAGMA writable_schema = 1",
    "PRAGMA writable_schema = RESET",
    "PRAGMA trusted_schema = 1",
    "PRAGMA query_only = 0",
    "PRAGMA mmap_size = 9223372036854775807",
    "PRAGMA max_page_count = 4294967294",
    "PRAGMA cache_size = -9999999",
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA module_list",
    "PRAGMA compile_options",
    "PRAGMA key = 'x'",
    "PRAGMA b.table_list",
    "UPDATE sqlite_schema SET sql = 'x'",
    "DELETE FROM sqlite_master",
    "INSERT INTO sqlite_schema VALUES ('view', 'v', 'v', 0, 'CREATE VIEW v AS SELECT readfile(''{file}'')')",
    "CREATE TEMP TABLE t (a)",
    "CREATE TEMP VIEW t AS SELECT 1",
    "CREATE TABLE temp.t (a)",
    "CREATE TEMP TRIGGER t AFTER INSERT ON marker BEGIN SELECT 1; END",
    "CREATE VIEW v AS SELECT readfile('{file}')",
    "CREATE VIEW v AS SELECT * FROM fsdir('{dir}')",
    "CREATE TRIGGER g AFTER INSERT ON marker BEGIN SELECT load_extension('x'); END",
    "CREATE TRIGGER g AFTER INSERT ON marker BEGIN INSERT INTO b.marker VALUES ('x'); END",
    "CREATE TABLE t (a DEFAULT (readfile('{file}')))",
    "CREATE TABLE t (a, b AS (readfile('{file}')))",
    "CREATE TABLE t (a CHECK (writefile('{file}', a)))",
    "CREATE INDEX i ON marker (readfile(x))",
    "SELECT x FROM marker ORDER BY readfile('{file}')",
    "WITH c AS (SELECT readfile('{file}') AS r) SELECT r FROM c",
    "SELECT count(*) FILTER (WHERE readfile('{file}') IS NOT NULL) FROM marker",
    "INSERT INTO marker VALUES (readfile('{file}')) RETURNING x",
    "SELECT 1\0; ATTACH '{file}' AS b",
]


@pytest.mark.parametrize("sql", REFUSED_SQL)
def test_no_sql_reaches_out_of_its_own_database(world: World, sql: str) -> None:
    for way in WAYS:
        if way == "describe" and "pragma_database_list" in sql:
            continue  # preparing it tells nothing: the columns are SQLite's own
        answer, errors = run_by(world, way, world.fill(sql))
        assert answer.status in {200, 400, 403}, (way, answer)
        assert errors, f"{way}: it ran: {answer}"
        assert not any(error.startswith("INTERNAL") for error in errors), (way, errors)
    assert _own_rows(world) == [MINE]


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE t1 (a)", "CREATE VIEW v1 AS SELECT * FROM pragma_database_list", "SELECT * FROM v1"],
        [
            "CREATE TABLE t2 (a)",
            "CREATE TRIGGER g2 AFTER INSERT ON t2 BEGIN SELECT file FROM pragma_database_list; END",
            "INSERT INTO t2 VALUES (1)",
        ],
        ["BEGIN", "ATTACH '{file}' AS b", "SELECT * FROM b.marker", "COMMIT"],
        ["PRAGMA writable_schema = 1", "UPDATE sqlite_master SET sql = replace(sql, 'x', 'y')"],
        ["SAVEPOINT s", "PRAGMA journal_mode = OFF", "RELEASE s"],
        [
            "CREATE VIRTUAL TABLE f1 USING fts5(a)",
            "INSERT INTO f1 VALUES ('x')",
            "INSERT INTO f1 (f1, rank) VALUES ('rank', 'readfile(''{file}'')')",
            "SELECT rank FROM f1 WHERE f1 MATCH 'x' ORDER BY rank",
        ],
        ["CREATE VIRTUAL TABLE f2 USING fts5(a, content='b.marker')", "SELECT * FROM f2"],
        ["CREATE VIRTUAL TABLE f3 USING fts5(x, content='marker', tokenize='{file}')"],
        ["CREATE VIRTUAL TABLE f4 USING fts5vocab('{file}', 'row')", "SELECT * FROM f4"],
        ["CREATE VIRTUAL TABLE f5 USING fts5vocab(b, marker, 'row')", "SELECT * FROM f5"],
        ["ALTER TABLE marker ADD COLUMN z DEFAULT (readfile('{file}'))"],
        [
            'ALTER TABLE marker RENAME TO "b.marker"',
            'ALTER TABLE "b.marker" RENAME TO marker',
            "SELECT * FROM b.marker",
        ],
    ],
)
def test_no_sequence_of_statements_gets_out_either(world: World, statements: list[str]) -> None:
    answer = world.run(*map(world.fill, statements))
    assert answer.status == 200, answer
    assert '"type":"error"' in answer.body.decode(), answer
    assert _own_rows(world) == [MINE]


GREEDY_SQL = [
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
    "WITH RECURSIVE r(n) AS (SELECT zeroblob(1000000) UNION ALL SELECT zeroblob(1000000) FROM r) SELECT n FROM r",
    "WITH RECURSIVE r(n) AS (SELECT randomblob(1000000) UNION ALL SELECT n || n FROM r) SELECT length(n) FROM r",
    "SELECT zeroblob(2147483647)",
    "SELECT randomblob(1000000000)",
    "SELECT hex(randomblob(1000000000))",
    "SELECT printf('%.*c', 1000000000, 'x')",
    "SELECT printf('%1000000000d', 1)",
    "SELECT replace(hex(zeroblob(1000000)), '0', hex(zeroblob(1000000)))",
    "SELECT group_concat(hex(zeroblob(100000))) FROM generate_series(1, 1000000)",
    "SELECT json_group_array(hex(zeroblob(100000))) FROM json_each('[1,2,3]')",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT " + "-" * 100_001 + "1",
    "SELECT " + "1+" * 20_000 + "1",
    "SELECT " + "NOT " * 20_000 + "1",
    "SELECT " + " UNION ALL SELECT ".join(["1"] * 2000),
    "SELECT " + ", ".join(["1"] * 40_000),
    "SELECT json('" + "[" * 50_000 + "]" * 50_000 + "')",
    "SELECT 'a' LIKE '" + "%a" * 10_000 + "'",
    "SELECT hex(zeroblob(100000)) LIKE '" + "%0" * 100 + "1'",
    "SELECT hex(zeroblob(100000)) GLOB '" + "*0" * 100 + "1'",
    "SELECT count(*) FROM marker a, pragma_function_list b, pragma_function_list c, pragma_function_list d",
    "INSERT INTO greedy WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)"
    " SELECT randomblob(100000) FROM r",
]


@pytest.mark.parametrize("sql", GREEDY_SQL, ids=lambda sql: f"{sql[:60]}({len(sql)})")
def test_greedy_sql_ends_soon_and_answers_stay_small(world: World, sql: str) -> None:
    world.run("CREATE TABLE IF NOT EXISTS greedy (x)")
    answer, errors = run_by(world, "execute", sql)
    assert answer.status in {200, 400}, answer
    assert len(answer.body) < 11_000_000
    assert not any(error.startswith("INTERNAL") for error in errors)
    began = time.monotonic()
    still_whole(world)
    assert time.monotonic() - began < 1, "the other one waited"
    world.run("DROP TABLE greedy")


def _own_rows(world: World) -> list[str]:
    answer = world.run("SELECT x FROM marker")
    assert answer.status == 200, answer
    rows = answer.json["results"][0]["response"]["result"]["rows"]
    return [row[0]["value"] for row in rows]


# Streams -------------------------------------------------------------------------------------------


def _baton(answer: Answer) -> str:
    assert answer.status == 200, answer
    baton: str = answer.json["baton"]
    assert baton
    return baton


def test_anothers_stream_cannot_be_continued_nor_ended(world: World) -> None:
    b_token = world.b_credentials["access_token"]
    opened = world.run(
        "BEGIN IMMEDIATE",
        "INSERT INTO marker VALUES ('half')",
        token=b_token,
        name=world.b_name,
        closes=False,
    )
    baton = _baton(opened)
    stream_id = baton.partition(".")[0]
    assert world.run("SELECT x FROM marker", baton=baton, name=world.b_name).status == 404
    for guess in (baton, stream_id, f"{stream_id}.", f"{stream_id}.{'A' * 24}", f"{baton}x", f".{baton}"):
        refused = world.run("SELECT x FROM marker", "COMMIT", baton=guess)
        assert refused.status == 400, refused
        assert "BATON" in refused.json["code"] or "STREAM" in refused.json["code"], refused
    goes_on = world.run("ROLLBACK", baton=baton, token=b_token, name=world.b_name)
    assert goes_on.json["results"][0]["type"] == "ok", goes_on


def test_a_baton_of_ones_own_opens_nothing_of_anothers_and_works_once(world: World) -> None:
    baton = _baton(world.run("SELECT 1", closes=False))
    assert world.run("SELECT x FROM marker", baton=baton, name=world.b_name).status == 404
    after = _baton(world.run("SELECT 1", baton=baton, closes=False))
    assert after != baton
    assert world.run("SELECT 1", baton=baton).status == 400
    assert world.run("SELECT 1", baton=after).status == 200
    assert world.run("SELECT 1", baton=after).status == 400


def test_a_stream_belongs_to_the_token_that_opened_it(world: World) -> None:
    reader = world.a.credentials(access_level="read_only")["access_token"]
    fresh = world.a.credentials()["access_token"]
    assert fresh != world.a_token
    baton = _baton(world.run("BEGIN", "INSERT INTO marker VALUES ('half')", closes=False))
    for token in (reader, fresh):
        assert world.run("COMMIT", baton=baton, token=token).status == 400
    assert world.run("ROLLBACK", baton=baton).json["results"][0]["type"] == "ok"
    baton = _baton(world.run("SELECT 1", token=reader, closes=False))
    assert world.run("DELETE FROM marker", baton=baton).status == 400
    refused = world.run("DELETE FROM marker", baton=baton, token=reader)
    assert refused.status == 403, refused
    assert _own_rows(world) == [MINE]


# Reading only --------------------------------------------------------------------------------------

WRITES = [
    "INSERT INTO marker VALUES ('x')",
    "INSERT INTO marker VALUES ('x') RETURNING x",
    "REPLACE INTO marker VALUES ('x')",
    "UPDATE marker SET x = 'x'",
    "DELETE FROM marker",
    "WITH c AS (SELECT 1) DELETE FROM marker",
    "WITH c AS (SELECT 1 AS n) INSERT INTO marker SELECT n FROM c RETURNING x",
    "INSERT INTO marker SELECT x FROM marker",
    "CREATE TABLE mine (a)",
    "CREATE TABLE IF NOT EXISTS mine (a)",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE INDEX i ON marker (x)",
    "CREATE VIEW v AS SELECT 1",
    "CREATE TRIGGER g AFTER INSERT ON marker BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE f USING fts5(a)",
    "CREATE TEMP TABLE mine (a)",
    "DROP TABLE marker",
    "ALTER TABLE marker RENAME TO other",
    "ALTER TABLE marker ADD COLUMN y",
    "ALTER TABLE marker RENAME COLUMN x TO y",
    "REINDEX",
    "ANALYZE",
    "VACUUM",
    "PRAGMA user_version = 99",
    "PRAGMA query_only = 0",
    "PRAGMA wal_checkpoint",
    "PRAGMA incremental_vacuum(1)",
    "PRAGMA application_id = 9",
    "PRAGMA journal_mode = DELETE",
]


@pytest.fixture(scope="module")
def reader(world: World) -> str:
    credentials = world.a.credentials(access_level="read_only")
    assert credentials["access_level"] == "read_only"
    return str(credentials["access_token"])


@pytest.mark.parametrize("sql", WRITES)
def test_a_reading_token_writes_nothing(world: World, reader: str, sql: str) -> None:
    for way in WAYS:
        answer, errors = run_by(world, way, sql, reader)
        assert answer.status in {200, 400, 403}, (way, answer)
        assert errors, f"{way}: it ran: {answer}"
    for begin in ("BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "SAVEPOINT s"):
        answer = world.run(begin, sql, "COMMIT", token=reader)
        assert answer.status == 403 or answer.json["results"][1]["type"] == "error", (begin, answer)
    assert _own_rows(world) == [MINE]


@pytest.mark.parametrize(
    "begin", ["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "begin/**/immediate transaction", "SAVEPOINT s"]
)
def test_a_reading_token_keeps_no_writer_waiting(world: World, reader: str, begin: str) -> None:
    held = world.run(begin, "SELECT x FROM marker", token=reader, closes=False)
    began = time.monotonic()
    written = world.run("INSERT INTO marker VALUES ('second')", "DELETE FROM marker WHERE x = 'second'")
    assert [each["type"] for each in written.json["results"]] == ["ok"] * 3, written
    assert time.monotonic() - began < 0.3
    if held.status == 200 and held.json["baton"]:
        world.run("ROLLBACK", token=reader, baton=held.json["baton"])


def test_a_reading_token_cannot_be_turned_into_a_full_one(world: World, reader: str) -> None:
    assert world.wire.get("/databases/user?access_level=full", reader).status == 401
    inside = jwt.decode(reader, options={"verify_signature": False})
    assert inside["a"] == "ro"
    for token in (
        spliced(reader, {**inside, "a": "rw"}),
        spliced(reader, {**inside, "p": {"rw": {"ns": [world.a_name]}}}),
    ):
        assert world.run("DELETE FROM marker", token=token).status == 401


# What is left behind ---------------------------------------------------------------------------------


def test_a_client_that_says_half_a_request_and_leaves_takes_nothing_along(world: World) -> None:
    for cut in (10, 200, len(READ)):
        with socket.create_connection(("127.0.0.1", world.service.port)) as peer:
            head = f"POST /db/{world.a_name}/v3/pipeline HTTP/1.1\r\nHost: x\r\n"
            head += f"Authorization: Bearer {world.a_token}\r\nContent-Length: {len(READ) + 10}\r\n\r\n"
            peer.sendall(head.encode() + READ[:cut])
    assert _own_rows(world) == [MINE]
