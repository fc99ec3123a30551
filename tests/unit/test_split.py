"""Where a statement ends, on every kind of script that hides a `;`."""

import re
import sqlite3
import time
from contextlib import closing, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.migrate.faults import BadMigration
from freehold.migrate.split import MAX_SCRIPT_BYTES, Statement, split

TRIGGER = """CREATE TRIGGER t_added AFTER INSERT ON t
BEGIN
  SELECT CASE WHEN NEW.a = ';' THEN 1 ELSE 2 END; -- not the END;
  INSERT INTO "end;" VALUES ('it''s; END;');
  /* ; END; */
  UPDATE [t;] SET `a;` = 1;
END"""


def sqls(script: str) -> list[str]:
    return [statement.sql for statement in split(script)]


# Examples ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("", []),
        (" ;; ; \n;", []),
        ("-- only ; comments\n/* ; */;", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT 1 -- why; not\n;\nSELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT 'a;b', 'it''s;', x';'", ["SELECT 'a;b', 'it''s;', x';'"]),
        ('SELECT ";", "a"";b", `;`, [;]; SELECT 2', ['SELECT ";", "a"";b", `;`, [;]', "SELECT 2"]),
        ("SELECT 1 /* outer /* ; inner */ ; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT 1 /* -- */ ; SELECT 2 -- /*", ["SELECT 1", "SELECT 2"]),
        ("SELECT 1 - -1;SELECT 4/2;SELECT a.*;", ["SELECT 1 - -1", "SELECT 4/2", "SELECT a.*"]),
        ("SELECT 1;\r\nSELECT\r\n2;\r\n", ["SELECT 1", "SELECT\r\n2"]),
        (f"{TRIGGER};SELECT 1", [TRIGGER, "SELECT 1"]),
        (TRIGGER, [TRIGGER]),
        (f"create /* c */ temp\ntrigger{TRIGGER[14:]}; X", [f"create /* c */ temp\ntrigger{TRIGGER[14:]}", "X"]),
        ('CREATE TABLE trigger_log (begin_at, "END" TEXT); END', None),
        ("CREATE VIEW begin_end AS SELECT CASE 1 WHEN 1 THEN 2 END; SELECT 1", None),
        ("SELECT كلمة; SELECT 'قلم؛;'", ["SELECT كلمة", "SELECT 'قلم؛;'"]),
    ],
)
def test_a_script_is_cut_where_statements_end(script: str, expected: list[str] | None) -> None:
    if expected is None:  # a plain cut at `;` is right
        expected = [piece.strip() for piece in script.split(";")]
    assert sqls(script) == expected


def test_a_statement_knows_the_line_of_its_first_token() -> None:
    script = "-- 1\n\nSELECT 1; /* 3\n4 */ SELECT\n2;\n\n;\n  SELECT '8\n9';SELECT 9"
    assert split(script) == [
        Statement("SELECT 1", 3),
        Statement("SELECT\n2", 4),
        Statement("SELECT '8\n9'", 8),
        Statement("SELECT 9", 9),
    ]


@pytest.mark.parametrize(
    ("script", "line", "why"),
    [
        ("SELECT 1;\nSELECT 'a;\n", 2, "string is not closed"),
        ("SELECT 1;\nSELECT 'a'';\n", 2, "string is not closed"),
        ('\n\nSELECT "a', 3, "quoted name is not closed"),
        ("SELECT `a", 1, "quoted name is not closed"),
        ("SELECT [a", 1, "quoted name is not closed"),
        ("SELECT 1;\n\n/* a", 3, "comment is not closed"),
        ("SELECT 1 /*/", 1, "comment is not closed"),
        ("\nCREATE TRIGGER t AFTER INSERT ON t BEGIN SELECT 1;\nSELECT 2;", 2, "trigger is not closed"),
        ("CREATE TRIGGER t AFTER INSERT ON t BEGIN SELECT 1; END IF;", 1, "trigger is not closed"),
        ("SELECT 1;\n\x00", 2, "NUL"),
        ("SELECT '\x00'", 1, "NUL"),
        ("\ufeffSELECT 1", 1, "byte order mark"),
        ("SELECT '\ud800'", 1, "Unicode"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_its_line(script: str, line: int, why: str) -> None:
    with pytest.raises(BadMigration, match=why) as caught:
        split(script)
    assert caught.value.faults[0].line == line
    assert caught.value.code == "bad_migration"


def test_a_script_over_a_mebibyte_is_refused() -> None:
    assert len(split("SELECT 1;" + " " * (MAX_SCRIPT_BYTES - 9))) == 1
    with pytest.raises(BadMigration, match="limit"):
        split("SELECT 1;" + "ق" * (MAX_SCRIPT_BYTES // 2))


@pytest.mark.parametrize(
    "unit", ["CREATE TRIGGER; ", "; ", "'' ", "a;", "/* ", "[", "--;\n", ";END x", "CREATE TRIGGER ;END;", "-", "(("]
)
@pytest.mark.parametrize("opening", ["", "CREATE TRIGGER ", "'", "SELECT "])
def test_a_hostile_script_takes_no_more_than_its_length(opening: str, unit: str) -> None:
    def seconds(size: int) -> float:
        script = (opening + unit * size)[:size]
        started = time.process_time()
        with suppress(BadMigration):
            split(script)
        return time.process_time() - started

    # Quadratic time would be 64 times as much for 8 times the length, and minutes for a mebibyte.
    assert seconds(160_000) < max(0.05, seconds(20_000)) * 24


# Properties --------------------------------------------------------------------------------------

NAMES = st.sampled_from(["t", "begin_x", "xend", "trigger1", '"a;b"', '"END;"', "[x;y]", "`;`", "قلم", "end_"])
STRINGS = st.text(alphabet="a;'\n\r-/*\"[]` ENDق", max_size=12).map(lambda text: "'" + text.replace("'", "''") + "'")
LITERALS = st.one_of(
    STRINGS, st.integers(0, 999).map(str), st.just("x'3b'"), st.just("CASE WHEN 1 THEN ';' ELSE NULL END")
)
COMMENTS = st.one_of(
    st.text(alphabet="a;'\"/* END", max_size=10).map(lambda text: f"--{text}\n"),
    st.text(alphabet="a;'\"/- \nEND", max_size=10).map(lambda text: f"/*{text.replace('*/', '')} /* */"),
)
GAPS = st.one_of(st.sampled_from([" ", "\n", "\r\n", "\t", "  \n "]), COMMENTS)


@st.composite
def plain_statements(draw: st.DrawFn) -> str:
    gap = draw(GAPS)
    values = draw(st.lists(LITERALS, min_size=1, max_size=3))
    form = draw(st.sampled_from(["INSERT INTO {n} VALUES ({v})", "SELECT{g}{v}", "CREATE TABLE {n} (begin, [end;])"]))
    return form.format(n=draw(NAMES), v=", ".join(values), g=gap)


@st.composite
def triggers(draw: st.DrawFn) -> str:
    body = draw(st.lists(plain_statements(), min_size=1, max_size=3))
    gap = draw(GAPS)
    head = draw(st.sampled_from(["CREATE TRIGGER", "create temp trigger", "CREATE\nTEMPORARY TRIGGER IF NOT EXISTS"]))
    end = draw(st.sampled_from(["END", "end", "End"]))
    joined = "".join(f"{gap}{statement}{gap};" for statement in body)
    return f"{head} {draw(NAMES)} AFTER INSERT ON {draw(NAMES)} BEGIN{joined}{gap}{end}"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(GAPS, st.one_of(plain_statements(), triggers()), GAPS), max_size=6), st.booleans())
def test_joined_statements_come_back_as_they_were(pieces: list[tuple[str, str, str]], is_closed: bool) -> None:
    script = ";".join(f"{before}{statement}{after}" for before, statement, after in pieces)
    assert sqls(script + (";" if is_closed else "")) == [statement for _, statement, _ in pieces]


SOUP = st.lists(
    st.sampled_from([
        *";;;'\"`[]-/*\n ", "--", "/*", "*/", "CREATE ", "TEMP ", "TRIGGER ", "EXPLAIN ", "END", " end", ";END;", "x",
        "''", "é", "$", ":", ".", "1", "?", "@END", "#",
    ]),
    max_size=40,
).map("".join)  # fmt: skip


def without_comments(sql: str) -> str:
    """Without space, too. What looks like a comment inside a literal or a quoted name stays."""
    quoted = r"""('[^']*'|"[^"]*"|`[^`]*`|\[[^]]*])"""
    return re.sub(rf"{quoted}|\s|--[^\n]*|/\*.*?\*/", lambda found: found[1] or "", sql, flags=re.DOTALL)


@settings(max_examples=1000, deadline=None)
@given(SOUP)
def test_any_soup_is_cut_where_sqlite_says_that_a_statement_is_complete(soup: str) -> None:
    try:
        found = sqls(soup)
    except BadMigration:
        return
    expected = []
    rest = soup
    while rest:
        ends = (i for i, char in enumerate(rest, 1) if char == ";" and sqlite3.complete_statement(rest[:i]))
        end = next(ends, len(rest))
        expected.append(rest[:end])
        rest = rest[end:]
    # Comments around a statement do not count, and neither do pieces of comments alone.
    bare = [without_comments(piece).removesuffix(";") for piece in expected]
    cut = [without_comments(piece) for piece in found]
    assert "".join(cut) == "".join(bare)
    assert len(cut) == len([piece for piece in bare if piece])


def schema_of(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY 1").fetchall()


@st.composite
def schemas(draw: st.DrawFn) -> str:
    gaps = st.one_of(st.just(" "), COMMENTS)
    statements = []
    for number in range(draw(st.integers(1, 4))):
        default = draw(STRINGS)
        statements.append(f'CREATE TABLE "t;{number}" ({draw(gaps)} a TEXT DEFAULT {default}, "END" {draw(gaps)})')
        if draw(st.booleans()):
            statements.append(
                f'CREATE TRIGGER "r;{number}" AFTER INSERT ON "t;{number}" BEGIN {draw(gaps)}'
                f"SELECT CASE WHEN NEW.a = {draw(LITERALS)} THEN 1 END; {draw(gaps)}"
                f'DELETE FROM "t;{number}" WHERE a = {draw(LITERALS)}; {draw(gaps)} END'
            )
        statements.append(f'INSERT INTO "t;{number}" (a) VALUES ({draw(LITERALS)})')
    return ";".join(f"{draw(gaps)}{statement}{draw(gaps)}" for statement in statements) + ";"


@settings(max_examples=100, deadline=None)
@given(schemas())
def test_running_the_pieces_builds_the_schema_that_running_the_script_does(script: str) -> None:
    with closing(sqlite3.connect(":memory:")) as whole, closing(sqlite3.connect(":memory:")) as pieces:
        whole.executescript(script)
        for sql in sqls(script):
            pieces.execute(sql)
        assert schema_of(pieces) == schema_of(whole)
        for name, _ in schema_of(whole):
            if name.startswith("t;"):
                rows = f'SELECT a FROM "{name}"'
                assert pieces.execute(rows).fetchall() == whole.execute(rows).fetchall()
