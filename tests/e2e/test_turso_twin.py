"""The local twin as its users meet it: official clients, restarts, faults on demand."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from testbed.servers import FREEHOLD, ROOT, clean_environ, run_node
from testbed.sqld import BINARY
from testbed.twin import ORGANIZATION, TOKEN, Twin, running_twin


@pytest.fixture(scope="module")
def running() -> Iterator[Twin]:
    with running_twin() as found:
        yield found


@pytest.fixture
def twin(running: Twin) -> Iterator[Twin]:
    """No databases and no faults."""
    yield running
    running.clear()


def rows(answer: Any) -> list[list[Any]]:
    result = answer["results"][0]
    assert result["type"] == "ok", result
    return [[cell.get("value") for cell in row] for row in result["response"]["result"]["rows"]]


def test_the_official_javascript_client_provisions_and_its_databases_open(twin: Twin) -> None:
    script = ROOT / "tests/e2e/node/turso_api.mjs"
    ended = run_node(script, f"{twin.url}/v1/", ORGANIZATION, TOKEN)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert "aws-us-east-1" in report.pop("locations")
    assert report == {
        "valid": -1,
        "groups": ["default"],
        "newGroup": "aws-eu-west-1",
        "keys": ["hostname", "id", "name"],
        "same": True,
        "again": {"name": "TursoClientError", "status": 409, "message": "database with name [js-db] already exists"},
        "absent": {
            "name": "TursoClientError",
            "status": 404,
            "message": "could not find database with name [nobody]: record not found",
        },
        "words": ["كتاب", "pen"],
        "branch": 0,
        "source": 2,
        "stranger": "LibsqlError",
        "group": 1,
        "listed": ["js-branch", "js-db"],
        "instance": "primary",
        "usage": True,
        "rotated": "LibsqlError",
        "afterwards": 2,
        "deleted": "js-db",
        "gone": "LibsqlError",
    }


def test_what_was_made_is_there_after_a_kill_and_a_stop(tmp_path: Path) -> None:
    twin = Twin(tmp_path, "--databases-at", "paths").start()
    try:
        made = twin.create("kept")
        token = twin.token("kept")
        assert twin.run(made["Hostname"], token, "create table t(a)")[0] == 200
        assert twin.run(made["Hostname"], token, "insert into t values (1)")[0] == 200
        twin.kill()
        twin.start()  # waits until the sqld of the killed one has let go of the data
        assert twin.call("GET", "databases/kept").json()["database"]["DbId"] == made["DbId"]
        assert rows(twin.run(made["Hostname"], token, "select a from t")[1]) == [["1"]]
        assert twin.stop() == 0
        assert not sqlds_of(twin.data_dir)
        twin.start()
        assert rows(twin.run(made["Hostname"], token, "select a from t")[1]) == [["1"]]
        assert TOKEN not in twin.log()
        assert token not in twin.log()
    finally:
        twin.stop()


def sqlds_of(folder: Path) -> list[str]:
    """Processes that work on this folder, the twin itself left out."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(folder / "sqld" / "data") in words:
            found.append(process.name)
    return found


def test_a_second_twin_keeps_off_the_data_of_the_first(twin: Twin) -> None:
    words = [*twin.command()]
    words[words.index("--port") + 1] = "0"
    ended = subprocess.run(
        words, env=clean_environ(SQLD_BINARY=str(BINARY)), capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 3
    assert "another sqld works on" in ended.stderr


def test_without_sqld_it_says_how_to_get_it(tmp_path: Path) -> None:
    for variables in ({}, {"SQLD_BINARY": str(tmp_path / "none")}):
        ended = subprocess.run(
            [FREEHOLD, "dev", "turso", "--port", "0"],
            cwd=tmp_path,
            env=clean_environ(**{"PATH": "/usr/bin:/bin", **variables}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 3, ended.stderr
        assert "SQLD_BINARY" in ended.stderr
        assert not list(tmp_path.iterdir())


def test_it_prints_what_a_shell_sets(tmp_path: Path) -> None:
    ended = subprocess.run(
        [FREEHOLD, "dev", "turso", "--print", "--token", "it's"],
        cwd=tmp_path,
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = subprocess.run(
        ["/bin/sh", "-c", f'{ended.stdout}\necho "$TURSO_API_URL $TURSO_API_TOKEN"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "http://127.0.0.1:8081 it's\n"


def test_names_lead_to_databases_as_paths_do(twin: Twin) -> None:
    twin.create("named")
    body = {"requests": [{"type": "execute", "stmt": {"sql": "select 7"}}, {"type": "close"}]}
    reply = httpx.post(
        f"{twin.url}/v2/pipeline",
        json=body,
        headers={
            "host": f"named-{ORGANIZATION}.localhost:{twin.port}",
            "authorization": f"Bearer {twin.token('named')}",
        },
    )
    assert rows(reply.json()) == [["7"]]


def test_nobody_comes_in_without_a_platform_token(twin: Twin) -> None:
    for path in ("/v1/organizations", "/__faults", f"/v1/organizations/{ORGANIZATION}/databases"):
        assert httpx.get(f"{twin.url}{path}").status_code == 401
        wrong = {"authorization": f"Bearer {TOKEN}x"}
        assert httpx.get(f"{twin.url}{path}", headers=wrong).status_code == 401
    made = twin.create("db")
    database_token = {"authorization": f"Bearer {twin.token('db')}"}
    assert httpx.get(f"{twin.url}/v1/organizations", headers=database_token).status_code == 401
    assert twin.run(made["Hostname"], TOKEN, "select 1")[0] == 401


def test_a_platform_token_works_until_it_is_revoked(twin: Twin) -> None:
    made = twin.call("POST", "/v1/auth/api-tokens/ci").json()
    headers = {"authorization": f"Bearer {made['token']}"}
    assert httpx.get(f"{twin.url}/v1/locations", headers=headers).status_code == 200
    assert made["token"] not in twin.call("GET", "/v1/auth/api-tokens").text
    twin.call("DELETE", "/v1/auth/api-tokens/ci").raise_for_status()
    assert httpx.get(f"{twin.url}/v1/locations", headers=headers).status_code == 401


def test_tokens_open_what_they_say(twin: Twin) -> None:
    one, two = twin.create("one"), twin.create("two")
    full, reading = twin.token("one"), twin.token("one", authorization="read-only", expiration="5m")
    assert jwt.decode(reading, options={"verify_signature": False}) == {
        "a": "ro",
        "id": one["DbId"],
        "iat": pytest.approx(time.time(), abs=60),
        "exp": pytest.approx(time.time() + 300, abs=60),
    }
    assert "exp" not in jwt.decode(full, options={"verify_signature": False})
    assert twin.run(one["Hostname"], full, "create table t(a)")[0] == 200
    assert twin.run(one["Hostname"], reading, "select * from t")[0] == 200
    refused = twin.run(one["Hostname"], reading, "insert into t values(1)")[1]["results"][0]
    assert refused["error"]["code"] == "PROFILE_NEEDED"
    assert twin.run(two["Hostname"], full, "select 1")[0] == 404
    assert twin.run(one["Hostname"], full + "x", "select 1")[0] == 401
    forged = jwt.encode({"id": one["DbId"], "a": "rw"}, "k" * 32, algorithm="HS256")
    assert twin.run(one["Hostname"], forged, "select 1")[0] == 401


def test_permissions_displace_the_authorization_as_they_do_on_turso(twin: Twin) -> None:
    made = twin.create("db")
    body: Any = {"permissions": {"read_attach": {"databases": []}}}
    reply = twin.call("POST", "databases/db/auth/tokens?authorization=read-only", json=body)
    token = reply.json()["jwt"]
    assert "a" not in jwt.decode(token, options={"verify_signature": False})
    assert twin.run(made["Hostname"], token, "create table t(a)")[0] == 200
    twin.fault({"kind": "attach_refused"})
    reply = twin.call("POST", "databases/db/auth/tokens", json=body)
    assert (reply.status_code, reply.json()) == (400, {"error": "attach is not supported at AWS"})


def test_rotation_ends_all_tokens_of_a_database_and_a_groups_of_all(twin: Twin) -> None:
    one, two = twin.create("one"), twin.create("two")
    tokens = {"one": twin.token("one"), "two": twin.token("two")}
    group = twin.call("POST", "groups/default/auth/tokens").json()["jwt"]
    assert twin.call("POST", "databases/one/auth/rotate").content == b""
    assert twin.run(one["Hostname"], tokens["one"], "select 1")[0] == 401
    assert twin.run(two["Hostname"], tokens["two"], "select 1")[0] == 200
    assert twin.run(one["Hostname"], group, "select 1")[0] == 200
    twin.call("POST", "groups/default/auth/rotate").raise_for_status()
    for token in (tokens["two"], group):
        assert twin.run(two["Hostname"], token, "select 1")[0] == 401
    assert twin.run(two["Hostname"], twin.token("two"), "select 1")[0] == 200


def test_a_blocked_database_refuses_in_the_engine(twin: Twin) -> None:
    made = twin.create("db")
    token = twin.token("db")
    twin.run(made["Hostname"], token, "create table t(a)")

    def codes(**blocks: bool) -> list[str]:
        twin.call("PATCH", "databases/db/configuration", json=blocks).raise_for_status()
        answers = [twin.run(made["Hostname"], token, sql)[1] for sql in ("select 1 from t", "insert into t values(1)")]
        return [each["results"][0].get("error", {}).get("code", "ok") for each in answers]

    assert codes(block_writes=True) == ["ok", "BLOCKED"]
    assert codes(block_reads=True) == ["BLOCKED", "BLOCKED"]
    assert codes(block_reads=False, block_writes=False) == ["ok", "ok"]


def test_a_protected_database_is_not_deleted(twin: Twin) -> None:
    twin.create("db")
    twin.call("PATCH", "databases/db/configuration", json={"delete_protection": True}).raise_for_status()
    assert twin.call("DELETE", "databases/db").status_code == 403
    assert twin.call("GET", "databases/db").status_code == 200
    twin.call("PATCH", "databases/db/configuration", json={"delete_protection": False}).raise_for_status()


def test_it_never_gives_other_data_than_were_asked_for(twin: Twin) -> None:
    twin.create("db")
    seed = {"type": "database", "name": "db", "timestamp": "2024-01-01T00:00:00Z"}
    reply = twin.call("POST", "databases", json={"name": "past", "group": "default", "seed": seed})
    assert reply.status_code == 400
    assert "point-in-time" in reply.json()["error"]
    for malformed in ("", "yesterday", "2024-01-01", "2024-01-01T00:00:00", "2024-13-01T00:00:00Z", "1704067200"):
        body = {"name": "past", "group": "default", "seed": seed | {"timestamp": malformed}}
        reply = twin.call("POST", "databases", json=body)
        assert (reply.status_code, reply.json()["error"]) == (400, f"invalid timestamp: {malformed}")
    assert twin.call("GET", "databases/past").status_code == 404


def test_of_many_who_make_one_name_one_does(twin: Twin) -> None:
    def make(_number: int) -> int:
        return twin.call("POST", "databases", json={"name": "db", "group": "default"}).status_code

    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(make, range(12))) == [200, *[409] * 11]


def test_a_database_made_anew_under_a_name_is_another_one(twin: Twin) -> None:
    first = twin.create("db")
    token = twin.token("db")
    twin.run(first["Hostname"], token, "create table t(a)")
    twin.call("DELETE", "databases/db").raise_for_status()
    second = twin.create("db")
    assert second["DbId"] != first["DbId"]
    assert twin.run(second["Hostname"], token, "select 1")[0] == 404
    assert "error" in twin.run(second["Hostname"], twin.token("db"), "select * from t")[1]["results"][0]


@pytest.mark.parametrize(
    ("kind", "status", "is_made"),
    [
        ("rate_limit=3", 429, False),
        ("error_before", 500, False),
        ("error_after", 500, True),
        ("not_json", 502, False),
        ("drop_before", 0, False),
        ("drop_after", 0, True),
        ("latency=0.2", 200, True),
    ],
)
def test_a_fault_happens_before_or_after_the_effect(twin: Twin, kind: str, status: int, is_made: bool) -> None:
    started = time.monotonic()
    try:
        reply = twin.call("POST", "databases", json={"name": "db", "group": "default"}, headers={"x-fault": kind})
        found = reply.status_code
    except httpx.TransportError:
        found = 0
    assert found == status
    if kind == "rate_limit=3":
        assert reply.headers["retry-after"] == "3"
    if kind == "latency=0.2":
        assert time.monotonic() - started >= 0.2
    assert (twin.call("GET", "databases/db").status_code == 200) is is_made


def test_faults_of_single_calls(twin: Twin) -> None:
    made = twin.create("db")
    duplicate = {"name": "db", "group": "default"}
    for kind, status, text in (
        ("exists_as_400", 400, "database with same name already exists"),
        ("exists_as_422", 422, "name not available"),
    ):
        reply = twin.call("POST", "databases", json=duplicate, headers={"x-fault": kind})
        assert (reply.status_code, reply.json()["error"]) == (status, text)
    twin.fault({"kind": "expired_token", "times": 1}, {"kind": "no_access_claim", "times": 1, "path": "*/tokens"})
    claims = jwt.decode(twin.token("db"), options={"verify_signature": False})
    assert claims["exp"] < time.time()
    assert "a" not in claims
    token = twin.token("db")
    assert twin.run(made["Hostname"], token, "select 1")[0] == 200
    reply = twin.call("GET", "databases", headers={"x-fault": "nonsense"})
    assert reply.status_code == 400


def test_a_database_may_take_its_time(twin: Twin) -> None:
    twin.fault({"kind": "slow_ready", "seconds": 0.5, "times": 1})
    made = twin.create("db")
    assert twin.call("GET", "databases/db").status_code == 404
    until = time.monotonic() + 10
    while twin.call("GET", "databases/db").status_code == 404:
        assert time.monotonic() < until
    assert twin.run(made["Hostname"], twin.token("db"), "select 1")[0] == 200


def test_the_same_seed_gives_the_same_faults(twin: Twin) -> None:
    def play() -> list[int]:
        twin.fault_no_more()
        twin.fault({"kind": "error_before", "probability": 0.5}, seed=7)
        return [twin.call("GET", "/v1/locations").status_code for _ in range(20)]

    first = play()
    assert set(first) == {200, 500}
    assert play() == first
