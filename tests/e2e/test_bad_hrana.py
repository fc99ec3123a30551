"""What is no Hrana, sent to one's own database: a clear refusal each; and what chance makes of sound requests."""

import json
import os
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from testbed.servers import Service

from tests.e2e.attack_caller import ODD_VALUES, ApiCaller, caller_on
from tests.e2e.attack_routes import PASSWORD
from tests.e2e.attack_shapes import check_refusal
from tests.e2e.attack_world import pipeline


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
    "too many steps": {"requests": [{"type": "batch", "batch": {"steps": [{"stmt": {"sql": "SELECT 1"}}] * 20_001}}]},
    "args that are an object": {"requests": [{"type": "execute", "stmt": {"sql": "SELECT ?", "args": {}}}]},
    "an argument without type": {"requests": [{"type": "execute", "stmt": {"sql": "SELECT ?", "args": [1]}}]},
    "want_rows a text": {"requests": [{"type": "execute", "stmt": {"sql": "SELECT 1", "want_rows": "no"}}]},
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_of_another_form_is_refused(caller: ApiCaller, name: str) -> None:
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
def test_a_value_that_is_none_is_refused(caller: ApiCaller, name: str) -> None:
    for stmt in (
        {"sql": "SELECT ?", "args": [VALUES[name]]},
        {"sql": "SELECT :a", "named_args": [{"name": "a", "value": VALUES[name]}]},
    ):
        requests = [{"type": "execute", "stmt": stmt}, {"type": "close"}]
        check_refusal(caller.post("/db/{name}/v3/pipeline", {"requests": requests}), "/db/")
        check_refusal(caller.post("/db/{name}/v1/execute", {"stmt": stmt}), "/db/")


def test_numbers_that_json_does_not_have_are_refused(caller: ApiCaller) -> None:
    for number in (b"1e999", b"-1e999", b"NaN", b"Infinity", b"1" * 5000, b"0x1", b"01", b"1.", b".5", b"+1", b"1e"):
        body = (
            b'{"requests":[{"type":"execute","stmt":{"sql":"SELECT ?","args":[{"type":"float","value":%b}]}}]}' % number
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
def test_a_statement_that_cannot_run_fails_by_itself(caller: ApiCaller, name: str) -> None:
    requests = [{"type": "execute", "stmt": STATEMENTS[name]}, {"type": "execute", "stmt": {"sql": "SELECT 7"}}]
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
    "one that comes later, hidden": {"type": "or", "conds": [{"type": "error", "step": 0}, {"type": "ok", "step": 5}]},
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_on_what_cannot_be_is_refused_or_not_met(caller: ApiCaller, name: str) -> None:
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


def test_conditions_nested_deeper_than_any_decoder_goes_are_refused(caller: ApiCaller) -> None:
    for opening, closing in ((b'{"type":"not","cond":', b"}"), (b'{"type":"and","conds":[', b"]}")):
        condition = opening * 100_000 + b'{"type":"ok","step":0}' + closing * 100_000
        body = b'{"batch":{"steps":[{"stmt":{"sql":"SELECT 1"},"condition":%b}]}}' % condition
        check_refusal(caller.post("/db/{name}/v1/batch", body), "/db/")


def test_a_database_that_is_not_there_is_refused_for_each_endpoint(caller: ApiCaller) -> None:
    token = caller.credentials["access_token"]
    for endpoint in ("v1/execute", "v1/batch", "v2/pipeline", "v3/pipeline", "v3/cursor"):
        for name in ("t-" + "a" * 26, "x", "a" * 64, "a" * 5000, "%00", "-", "T", "é"):
            answer = caller.wire.post(f"/db/{name}/{endpoint}".encode("latin-1"), pipeline("SELECT 1"), token)
            assert answer.status in {400, 404}, answer
            check_refusal(answer, "/db/")


# Chance --------------------------------------------------------------------------------------------

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "150"))
"""For a long run: FUZZ_ROUNDS=20000 pytest tests/e2e/test_bad_hrana.py -k chance; FUZZ_SEED for another one."""
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
SPICE: list[Any] = [*ODD_VALUES, "execute", "SELECT 1", "BEGIN", {"type": "close"}, [[]], {"": ""}, -0.0, 1e308]


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
    return chance.choice([{**value, key: _spoilt(value[key], chance)}, rest, {**rest, key.upper(): value[key]}])


def _mangled(body: bytes, chance: random.Random) -> bytes:
    """The same with a few bytes changed."""
    found = bytearray(body)
    for _ in range(chance.randrange(1, 4)):
        index = chance.randrange(len(found) + 1)
        found[index : index + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(found)


@pytest.mark.timeout(30 + ROUNDS)
def test_what_chance_makes_of_sound_requests_is_answered(caller: ApiCaller) -> None:
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
