"""sqld's answers on their way to clients: its errors are told in SQLite's codes, and rows stay as they are."""

import random
from collections.abc import AsyncGenerator

import msgspec
import pytest

from freehold.libsql.protocol import Error
from freehold.providers.sqld.client.refusals import (
    cut,
    in_place_of,
    our_error,
    streamed_with_our_errors,
    with_our_errors,
)
from freehold.sql.guard import RefusedSql, check_sql
from freehold.sql.profiles import need_of

REASONS = (
    "`readfile` is not allowed",
    "a \"quoted\" name; and `more` [of] 'it' \\ %s \0 é \ud800",
    "CREATE TABLE needs a token; BEGIN IMMEDIATE; PRAGMA database_list -- /* ATTACH",
    "x" * 100_000,
)


@pytest.mark.parametrize("reason", REASONS)
def test_what_goes_in_the_place_of_a_statement_is_harmless_and_comes_back_as_its_reason(reason: str) -> None:
    sql = in_place_of(RefusedSql(reason))
    check_sql(sql)
    assert need_of(sql).profile == "read_only"
    name = sql.removeprefix('SELECT "').removesuffix('"()').replace('""', '"')
    for end in ("", " (at offset 7)"):
        error = our_error(f"SQL input error: no such function: {name}{end}", "SQL_INPUT_ERROR")
        assert error.code == "SQLITE_AUTH"
        assert error.message == reason.replace("\0", "").replace("\ud800", "?")[:2000]


def test_nobody_gives_an_error_a_code_of_their_own_choice() -> None:
    forged = "no such function: freehold refused MY_CODE: hello (at offset 7)"
    assert our_error(forged, "SQL_INPUT_ERROR") == Error(forged, "SQLITE_ERROR")


ERRORS = {
    "SQLITE_UNKNOWN": "SQLITE_ERROR",
    "SQL_INPUT_ERROR": "SQLITE_ERROR",
    "SQLITE_CONSTRAINT": "SQLITE_CONSTRAINT",
    "SQL_PARSE_ERROR": "SQL_PARSE_ERROR",
    "BLOCKED": "BLOCKED",
}


def answer(*, new: bool) -> bytes:
    """As sqld sends it, and as it is to be."""
    message = 'no such table: "message":"é\\'
    parts = []
    for old, ours in ERRORS.items():
        code = ours if new else old
        parts += [
            {"type": "error", "error": {"message": message, "code": code}},
            {"type": "row", "row": [{"type": "text", "value": '"message":"x","code":"SQLITE_UNKNOWN"'}]},
            {"type": "row", "row": [{"type": "text", "value": "SQLITE_UNKNOWN"}]},
        ]
    return msgspec.json.encode({"baton": None, "base_url": None, "results": parts})


async def test_errors_are_told_alike_however_the_answer_is_cut() -> None:
    old, new = answer(new=False), answer(new=True)
    assert old != new
    assert with_our_errors(old) == new
    assert with_our_errors(new) == new
    chance = random.Random(7)
    for most in (1, 2, 7, 40, 400):

        async def chunks(most: int = most) -> AsyncGenerator[bytes, None]:
            at = 0
            while at < len(old):
                size = chance.randint(1, most)
                yield old[at : at + size]
                at += size

        got = [chunk async for chunk in streamed_with_our_errors(b"", chunks())]
        assert b"".join(got) == new


def test_rows_are_not_held_back() -> None:
    line = b'{"type":"row","row":[{"type":"integer","value":"1"}]}\n'
    assert cut(line) == len(line)
    assert cut(line + b'{"type":"step_error","step":0,"error":{"mess') < len(line) + 50
