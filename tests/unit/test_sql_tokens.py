"""One lexer for all SQL: for migrations it cuts as it did when the fingerprints in the field were made."""

import random
import re
from pathlib import Path

import pytest
from testbed.servers import ROOT

from freehold.migrate.faults import BadMigration
from freehold.migrate.split import tokens
from freehold.sql.tokens import Kind, is_closed, spans

# The pattern of migrations' own lexer of 97dc196, which is no more.
_BEFORE = re.compile(
    r"""
      (?P<SPACE>      [ \t\n\f\r]++ | --[^\n]*+ | /\*(?s:.)*?\*/ )
    | (?P<WORD>       [A-Za-z0-9_\x80-\ufefe\uff00-\U0010ffff][A-Za-z0-9_$\x80-\ufefe\uff00-\U0010ffff]*+ )
    | (?P<STRING>     '[^']*+(?:''[^']*+)*+' )
    | (?P<QUOTED>     "[^"]*+(?:""[^"]*+)*+" | `[^`]*+(?:``[^`]*+)*+` | \[[^\]]*+\] )
    | (?P<SEMICOLON>  ; )
    | (?P<VARIABLE>   [?][0-9]*+ | [:@\#$]+[A-Za-z0-9_$\x80-\ufefe\uff00-\U0010ffff]++ )
    | (?P<UNCLOSED>   ['"`\[] | /\* )
    | (?P<BAD>        [\ufeff\x0b] )
    | (?P<OTHER>      (?:[^\sA-Za-z0-9_'"`\[;?:@\#$/\-\x80-\U0010ffff]++ | -(?!-) | /(?!\*)) | (?s:.) )
    """,
    re.VERBOSE,
)
# All but the signs that begin a variable: where one ends is read as SQLite does now, and no migration may have one.
_PIECES = [
    *("'", "''", '"', "`", "[", "]", "/*", "*/", "--", "\n", " ", ";", "(", ")", "||", "|", "-", "/", "*"),
    *("a", "_b1", "9", "\ufeff", "\x0b", "\x1c", "\x85", "é", "select", "x.y", "<=", "==", "\r", "\t", "\f"),
    *("a$b", ".1e5", "x'ab'"),
]
_UNCLOSED = ["'", "'a", "'a''", '"a""', "`", "[", "[a", "/*", "/*/", "/* *"]
_CLOSED = ["''", "'a'''", '""', "``", "[]", "[']", "/**/", "/* ' */", "--'", "a", "1"]


def before(sql: str) -> list[tuple[str, int, int]] | None:
    """Tokens as they were; None for what was refused."""
    found = []
    for match in _BEFORE.finditer(sql):
        kind = match.lastgroup
        if kind in {"UNCLOSED", "BAD"}:
            return None
        if kind is not None and kind != "SPACE":
            found.append((kind, *match.span()))
    return found


def now(sql: str) -> list[tuple[str, int, int]] | None:
    try:
        return [(token.kind.name, token.start, token.end) for token in tokens(sql)]
    except BadMigration:
        return None


@pytest.mark.parametrize("seed", range(8))
def test_migrations_are_cut_as_before(seed: int) -> None:
    chosen = random.Random(seed)
    for _ in range(4000):
        sql = "".join(chosen.choice(_PIECES) for _ in range(chosen.randint(1, 14)))
        assert now(sql) == before(sql), repr(sql)


@pytest.mark.parametrize("path", sorted((ROOT / "schema_registry").rglob("*.sql")), ids=lambda path: path.name)
def test_the_registry_that_ships_is_cut_as_before(path: Path) -> None:
    sql = path.read_text()
    assert now(sql) == before(sql) is not None


@pytest.mark.parametrize("seed", range(4))
def test_the_parts_are_the_whole_text(seed: int) -> None:
    chosen = random.Random(seed)
    for _ in range(2000):
        pieces = (chosen.choice([*_PIECES, *"$@#:?"]) for _ in range(chosen.randint(0, 14)))
        sql = "".join(pieces)
        assert "".join(sql[start:end] for _, start, end in spans(sql)) == sql


@pytest.mark.parametrize("text", _UNCLOSED)
def test_what_is_not_closed_reaches_to_the_end(text: str) -> None:
    ((kind, start, end),) = spans(text)
    assert kind in {Kind.STRING, Kind.QUOTED, Kind.SPACE}
    assert not is_closed(text[start:end])


@pytest.mark.parametrize("text", _CLOSED)
def test_what_has_its_end_is_closed(text: str) -> None:
    ((_, start, end),) = spans(text)
    assert (start, end) == (0, len(text))
    assert is_closed(text)
