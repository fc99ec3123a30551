"""`registry test`: what SQLite, libSQL and Turso's engine make of the same migrations and rows."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from testbed.servers import clean_environ, missing
from testbed.sqld import running_sqld

from freehold.libsql.http import HranaTarget
from freehold.migrate.snapshot import Scratch
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.providers.engines.engines import ENGINES, PACKAGES, EngineMissing, open_engines, require_engines
from freehold.registry.files import load_folder
from freehold.registry.lint.findings import Waivers
from freehold.registry.release import Waiver
from freehold.registry.sum_file import read_sum_file
from freehold.registry.trial import load_fixtures, try_out
from freehold.registry.types import BadRegistry
from tests.integration.migrate_parts import BAHAR, history

PARENTS = """CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT);
CREATE TABLE cards (id INTEGER PRIMARY KEY, word_id INTEGER REFERENCES words (id) ON DELETE CASCADE, n REAL)"""
ROWS = {1: ["INSERT INTO words VALUES (1, 'a'), (2, 'b')", "INSERT INTO cards VALUES (1, 1, 1.5), (2, 2, NULL)"]}


@pytest.fixture(scope="module", autouse=True)
def _engines() -> None:
    try:
        require_engines(ENGINES)
    except EngineMissing as error:
        missing(str(error))


async def faults(
    migrations: list[Migration], recorded: Mapping[int, str] | None = None, fixtures: object = ROWS
) -> dict[str, list[str]]:
    """By engine, what went wrong in any history."""
    found: dict[str, list[str]] = {}
    async with open_engines(ENGINES) as engines:
        async for tried in try_out(migrations, fixtures, engines, recorded or {}):  # type: ignore[arg-type]
            found.setdefault(tried.engine, []).extend(fault.reason for fault in tried.faults)
    return found


async def test_the_registry_that_ships_comes_out_alike_on_every_engine() -> None:
    migrations, fixtures, sums = await load_folder(BAHAR), await load_fixtures(BAHAR), read_sum_file(BAHAR)
    assert sums is not None
    recorded = {one.version: one.schema for one in sums.migrations}
    assert sorted(recorded) == list(range(1, len(migrations) + 1))
    assert await faults(migrations, recorded, fixtures) == {engine: [] for engine in ENGINES}


async def test_it_comes_out_alike_on_the_server_too() -> None:
    with running_sqld() as server:
        async with AsyncExitStack() as stack:
            count = 0

            @asynccontextmanager
            async def scratch() -> AsyncIterator[Target]:
                nonlocal count
                count += 1
                name = server.create(f"trial-{count}")
                session = aiohttp.ClientSession(headers={"Host": f"{name}.db.internal"})
                await stack.enter_async_context(session)
                yield HranaTarget(session, f"{server.url}/", server.token(name))

            engines: dict[str, Scratch] = {"sqld": scratch}
            async with open_engines(["sqlite"]) as sqlite:
                migrations = await load_folder(BAHAR)
                run = try_out(migrations, await load_fixtures(BAHAR), {**sqlite, **engines}, {}, since=6)
                assert [str(fault) async for tried in run for fault in tried.faults] == []
            assert count == len(migrations) - 5


WIDE = r"""CREATE TABLE t (
  id INTEGER PRIMARY KEY AUTOINCREMENT, a VARCHAR(20) CHECK (a <> 'x' AND a != 'y'),
  b DECIMAL( 10, 2 ) CHECK (b == 1 OR b IS NULL),
  c REAL DEFAULT -1.5, d DEFAULT (1 + 2), e TEXT DEFAULT 'it''s; so' COLLATE NOCASE,
  f CHECK (CAST(f AS INTEGER) > 0),
  at TEXT DEFAULT CURRENT_TIMESTAMP, CONSTRAINT pair UNIQUE (a, b));
CREATE TABLE u (id INTEGER PRIMARY KEY, t INTEGER, n INTEGER REFERENCES t ON DELETE SET NULL,
  FOREIGN KEY (t) REFERENCES t);
CREATE UNIQUE INDEX i1 ON t (a COLLATE NOCASE DESC, b) WHERE a IS NOT NULL AND b <> 3;
CREATE INDEX i2 ON t (lower(a), c + 1);
CREATE VIEW v AS SELECT t.a AS z, count(*) FROM t LEFT JOIN u ON u.t = t.id WHERE u.n != 1
  GROUP BY 1 HAVING count(*) > 1;
CREATE TRIGGER g AFTER UPDATE OF a ON t WHEN NEW.a <> OLD.a BEGIN
  DELETE FROM u WHERE n == 3; SELECT RAISE(ABORT, 'no') WHERE NEW.b > 5; END"""


async def test_what_engines_write_otherwise_is_the_same_schema() -> None:
    more = "ALTER TABLE t ADD COLUMN g REAL NOT NULL DEFAULT 1.5"
    rows = {1: ["INSERT INTO t (a, b, at) VALUES ('p', 1, 'then'), ('q', NULL, 'then')"]}
    assert await faults(history(WIDE, more), {}, rows) == {engine: [] for engine in ENGINES}


async def test_a_schema_that_differs_is_told_with_what_differs() -> None:
    found = await faults(history(PARENTS, "CREATE TABLE b AS SELECT sqlite_version() AS a"))
    assert any("its schema is another" in reason or "other rows" in reason for reason in found["libsql"])


async def test_rows_that_a_cascade_takes_are_missed() -> None:
    # Not a rebuild, so no rule about text sees what it does to the children.
    migrations = history(PARENTS, "CREATE TABLE b (a);\nDROP TABLE words")
    found = await faults(migrations)
    assert all("cards had 2 row(s) and has 0" in found[engine][0] for engine in ENGINES)
    says = "-- phase: contract\n-- min_app: 2.0\n"
    found = await faults(history(PARENTS, says + migrations[1].sql))
    assert found == {engine: [] for engine in ENGINES}


async def test_what_one_engine_refuses_is_told_with_the_engine() -> None:
    found = await faults(history(PARENTS, "CREATE TABLE b (a TEXT PRIMARY KEY) WITHOUT ROWID"))
    assert (found["sqlite"], found["libsql"]) == ([], [])
    assert any("WITHOUT ROWID" in reason for reason in found["turso"])


STAMPED = "CREATE TABLE stamps (id INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP)"


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("UPDATE words SET word = CURRENT_TIMESTAMP WHERE id = 1", "words"),  # only there are rows in it
        ("INSERT INTO stamps (id) VALUES (1)", "stamps"),
        ("UPDATE words SET word = hex(randomblob(8)) WHERE id = 1", "words"),
        ("INSERT INTO stamps VALUES (1, random() & 1)", "stamps"),
    ],
)
async def test_a_migration_that_gives_other_rows_each_time_is_found(sql: str, table: str) -> None:
    found = await faults(history(f"{PARENTS};\n{STAMPED}", sql))
    assert f"table {table} gets other rows each time: a migration depends on the time or on chance" in found["sqlite"]


async def test_an_app_may_leave_rows_to_the_clock_and_a_fixture_may_not() -> None:
    touch = "CREATE TRIGGER touch AFTER UPDATE ON stamps BEGIN UPDATE words SET word = CURRENT_TIMESTAMP; END"
    migrations = history(PARENTS, f"{STAMPED};\n{touch}", "UPDATE cards SET n = 1 WHERE n IS NULL")
    assert await faults(migrations) == {engine: [] for engine in ENGINES}
    found = await faults(migrations, {}, {**ROWS, 2: ["SELECT 1", "INSERT INTO stamps (id) VALUES (1)"]})
    told = "fixtures/0002.sql: statement 2: it leaves stamps.at to a default that depends on the time"
    assert sum(told in reason for reason in found["sqlite"]) == 1
    with pytest.raises(BadRegistry, match=r"fixtures/0004\.sql: there is no version 4"):
        await faults(migrations, {}, {4: ["SELECT 1"]})


async def test_rows_that_differ_between_engines_or_runs_are_found() -> None:
    found = await faults(history(PARENTS, "UPDATE words SET word = sqlite_version() WHERE id = 1"))
    assert any("table words has other rows than on sqlite" in reason for reason in found["libsql"])


async def test_a_rebuild_keeps_the_children_on_every_engine_and_an_orphan_stops_it() -> None:
    rebuild = """-- foreign_keys: off
CREATE TABLE words_new (id INTEGER PRIMARY KEY, word TEXT NOT NULL DEFAULT '');
INSERT INTO words_new SELECT id, word FROM words{where};
DROP TABLE words; ALTER TABLE words_new RENAME TO words"""
    good = await faults(history(PARENTS, rebuild.format(where="")))
    assert good == {engine: [] for engine in ENGINES}
    bad = await faults(history(PARENTS, rebuild.format(where=" WHERE id > 1")))
    for engine in ENGINES:
        assert any("reference a row that is not there" in reason for reason in bad[engine]), engine


WORDS = "CREATE TABLE words_new (id INTEGER PRIMARY KEY, word TEXT, kind TEXT);\n"
SWAP = "DROP TABLE words; ALTER TABLE words_new RENAME TO words"


def rebuilt(copy: str, *, phase: str = "") -> str:
    return f"-- foreign_keys: off\n{phase}{WORDS}{copy};\n{SWAP}"


CONTRACT = "-- phase: contract\n-- min_app: 2.0\n"
# Nothing is missing by count, or the migration says that it takes away.
LOSING = {
    "values": (rebuilt("INSERT INTO words_new (id) SELECT id FROM words"), "the values of words.word are not those"),
    "mixed": (
        rebuilt("INSERT INTO words_new SELECT id, hex(id) || 'k', word FROM words"),
        "the values of words.word are not those",
    ),
    "numbers": (
        rebuilt("INSERT INTO words_new (word) SELECT word FROM words ORDER BY id DESC"),
        "the rows of words come out with values of other rows",
    ),
    "seeds": (
        rebuilt("INSERT INTO words_new (id, word) SELECT id, word FROM words WHERE word <> 'b'; "
                "INSERT INTO words_new (id, word) VALUES (2, 'seed')"),
        "only some of the rows of words are left: 1 of 2",
    ),
    "contract": (
        CONTRACT + rebuilt("INSERT INTO words_new (id, word) SELECT id, word FROM words WHERE id > 0 LIMIT 0"),
        "none of the rows of words is left",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSING)
async def test_values_and_rows_of_what_survives_are_compared_and_not_counted_alone(name: str) -> None:
    sql, told = LOSING[name]
    before = PARENTS.replace(" REFERENCES words (id) ON DELETE CASCADE", "")  # nothing else may notice
    found = await faults(history(before, sql))
    assert any(told in reason for reason in found["sqlite"]), found


LETTERS = """CREATE TABLE letter (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL);
CREATE VIRTUAL TABLE letter_fts USING fts5(body, content='letter');
CREATE TRIGGER letter_ai AFTER INSERT ON letter BEGIN
  INSERT INTO letter_fts(rowid, body) VALUES (new.rowid, new.body);
END;
CREATE TRIGGER letter_ad AFTER DELETE ON letter BEGIN
  INSERT INTO letter_fts(letter_fts, rowid, body) VALUES ('delete', old.rowid, old.body);
END;
CREATE VIRTUAL TABLE place USING fts5(name, ref UNINDEXED, tokenize='unicode61');
CREATE VIRTUAL TABLE box USING rtree(id, x0, x1);
"""
LETTER_ROWS = {
    1: [
        "INSERT INTO letter VALUES ('a', 'apple'), ('b', 'banana'), ('c', 'cherry')",
        "DELETE FROM letter WHERE id = 'a'",
        "INSERT INTO place (rowid, name, ref) VALUES (3, 'here', 'x'), (8, 'there', 'y')",
        "INSERT INTO box VALUES (4, 0, 1), (9, 2, 3)",
    ]
}
RENUMBER = """-- foreign_keys: off
DROP TRIGGER letter_ai; DROP TRIGGER letter_ad;
CREATE TABLE letter_new (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL);
INSERT INTO letter_new {copy} FROM letter; DROP TABLE letter; ALTER TABLE letter_new RENAME TO letter;
CREATE TRIGGER letter_ai AFTER INSERT ON letter BEGIN
  INSERT INTO letter_fts(rowid, body) VALUES (new.rowid, new.body);
END"""
AGAIN = "DROP TABLE place; CREATE VIRTUAL TABLE place USING fts5(name, ref UNINDEXED, tokenize='porter')"


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        (AGAIN, "none of the rows of place is left"),
        (AGAIN, "table place had 2 row(s) and has 0"),
        (
            f"CREATE TABLE keep AS SELECT * FROM place; {AGAIN}; INSERT INTO place SELECT * FROM keep",
            "the full-text table place is joined by its row numbers",
        ),
        ("DROP TABLE box; CREATE VIRTUAL TABLE box USING rtree(id, x0, x1)", "none of the rows of box is left"),
        (RENUMBER.format(copy="SELECT id, body"), "the full-text table letter_fts refers to rows of letter"),
        (RENUMBER.format(copy="SELECT id, body"), "the full-text index letter_fts is damaged, or does not fit"),
        ("CREATE VIRTUAL TABLE f USING fts5(body, content='letter')", "the index of f does not fit the rows"),
        (RENUMBER.format(copy="(rowid, id, body) SELECT rowid, id, body"), None),
        (
            f"CREATE TABLE keep AS SELECT rowid AS r, * FROM place; {AGAIN};"
            "INSERT INTO place (rowid, name, ref) SELECT r, name, ref FROM keep; DROP TABLE keep",
            None,
        ),
        ("CREATE VIRTUAL TABLE f USING fts5(body, content='letter'); INSERT INTO f(f) VALUES ('rebuild')", None),
    ],
)
async def test_virtual_tables_and_what_knows_row_numbers_are_looked_at(sql: str, told: str | None) -> None:
    found: list[str] = []
    async with open_engines(["sqlite", "libsql"]) as engines:
        async for tried in try_out(history(LETTERS, sql), LETTER_ROWS, engines, {}):
            found += [fault.reason for fault in tried.faults]
    assert found == [] if told is None else any(told in reason for reason in found), found


async def test_a_full_text_index_that_holds_part_of_the_rows_on_purpose_is_no_fault() -> None:
    partial = LETTERS.replace("AFTER INSERT ON letter BEGIN", "AFTER INSERT ON letter WHEN new.body <> 'cherry' BEGIN")
    async with open_engines(["sqlite"]) as engines:
        run = try_out(history(partial, "CREATE TABLE b (a PRIMARY KEY)"), LETTER_ROWS, engines, {})
        assert [fault.reason async for tried in run for fault in tried.faults] == []


async def test_what_a_migration_changes_and_what_no_fixture_covers_is_told() -> None:
    sql = rebuilt("INSERT INTO words_new SELECT id, upper(word), NULL FROM words; CREATE TABLE stamps (id PRIMARY KEY)")
    async with open_engines(["sqlite"]) as engines:
        tries = [tried async for tried in try_out(history(PARENTS, sql), ROWS, engines, {})]
    assert [fault for tried in tries for fault in tried.faults] == []
    assert [tried.changes for tried in tries] == [
        (), ("version 2: 2 of 2 values of words.word change, 'a' to 'A'",), (),
    ]  # fmt: skip
    assert {tried.uncovered for tried in tries} == {("stamps",)}


@pytest.mark.parametrize(
    ("was", "kind", "row", "told"),
    [
        ("TEXT", "INTEGER", "'007'", "1 of 1 values of codes.code are stored otherwise, '007' as 7"),
        ("TEXT", "NUMERIC", "'1.50'", "'1.50' as 1.5"),
        ("TEXT", "INTEGER", "'7'", None),
        ("TEXT", "INTEGER", "'seven'", None),
        ("INTEGER", "TEXT", "7", None),
        ("REAL", "TEXT", "0.1", None),
        ("INTEGER", "REAL", "9007199254740993", "9007199254740993 as 9007199254740992.0"),
    ],
)
async def test_a_type_that_changes_values_for_good_is_told(was: str, kind: str, row: str, told: str | None) -> None:
    swap = "DROP TABLE codes; ALTER TABLE codes_new RENAME TO codes"
    sql = f"""-- foreign_keys: off
{CONTRACT}CREATE TABLE codes_new (id INTEGER PRIMARY KEY, code {kind});
INSERT INTO codes_new SELECT id, code FROM codes; {swap}"""
    rows = {1: [f"INSERT INTO codes VALUES (1, {row})"]}
    made = history(f"CREATE TABLE codes (id INTEGER PRIMARY KEY, code {was})", sql)
    async with open_engines(["sqlite"]) as engines:
        found = [fault.reason async for tried in try_out(made, rows, engines, {}) for fault in tried.faults]
    assert len(found) == (told is not None), found
    assert told is None or told in found[0]


async def test_a_waiver_says_that_rows_go() -> None:
    sql = rebuilt("INSERT INTO words_new (id) SELECT id FROM words")
    for rule, count in (("FH116", 0), ("FH117", 1)):
        waivers = Waivers({2: (Waiver(rule, "nobody has any"),)})
        async with open_engines(["sqlite"]) as engines:
            run = try_out(history(PARENTS, sql), ROWS, engines, {}, waivers=waivers)
            assert len([fault async for tried in run for fault in tried.faults]) == count


async def test_a_schema_other_than_the_recorded_one_is_found() -> None:
    found = await faults(history(PARENTS), {1: "0" * 64})
    assert all("another schema than registry.sum records" in found[engine][0] for engine in ENGINES)


async def test_bad_fixtures_are_told_with_their_file(tmp_path: Path) -> None:
    found = await faults(history(PARENTS), {}, {1: ["INSERT INTO cards VALUES (1, 9, 0)"]})
    assert all("fixtures/0001.sql: FOREIGN KEY" in found[engine][0] for engine in ("sqlite", "libsql"))
    (tmp_path / "fixtures").mkdir()
    (tmp_path / "fixtures" / "1.sql").write_text("SELECT 1")
    with pytest.raises(BadRegistry, match=r"expected NNNN\.sql"):
        await load_fixtures(tmp_path)
    (tmp_path / "fixtures" / "1.sql").rename(tmp_path / "fixtures" / "0001.sql")
    (tmp_path / "fixtures" / "0001.sql").write_text("SELECT 'open")
    with pytest.raises(BadRegistry, match=r"0001.sql: line 1: this string is not closed"):
        await load_fixtures(tmp_path)
    (tmp_path / "fixtures" / "0001.sql").write_text("SELECT 1;\n/* */ attach 'other.db' AS other")
    with pytest.raises(BadRegistry, match=r"0001.sql: statement 2, line 2: ATTACH is refused"):
        await load_fixtures(tmp_path)


def run(folder: Path, *words: str, without: str = "") -> subprocess.CompletedProcess[str]:
    """The command, as if a package were not installed."""
    script = f"import sys; sys.modules.update({{{without!r}: None}}); from freehold.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, "registry", "test", str(folder), *words],
        env=clean_environ(DATA_DIR=str(folder / "data")),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_command_tells_what_failed_and_never_passes_without_an_engine(tmp_path: Path) -> None:
    (tmp_path / "0001_begin.sql").write_text(PARENTS)
    (tmp_path / "fixtures").mkdir()
    (tmp_path / "fixtures" / "0001.sql").write_text(";\n".join(ROWS[1]))
    done = run(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["engine"], line["from"], line["rows"]) for line in lines] == [
        (engine, start, 4 * start) for start in (0, 1) for engine in ENGINES
    ]
    assert "6 histories on sqlite, libsql, turso: none failed" in done.stderr

    nothing = run(tmp_path, "--since", "2")
    assert (nothing.returncode, "there is no version 2 to start from" in nothing.stderr) == (1, True)

    (tmp_path / "0002_more.sql").write_text("CREATE TABLE b (a TEXT PRIMARY KEY) WITHOUT ROWID")
    refused = run(tmp_path, "--since", "1")
    assert (refused.returncode, "turso, from version 1: " in refused.stderr) == (1, True)
    assert run(tmp_path, "--engine", "sqlite", "--engine", "libsql").returncode == 0

    (tmp_path / "0002_more.sql").write_text("UPDATE words SET word = CURRENT_TIMESTAMP")
    assert run(tmp_path, "--engine", "sqlite").returncode == 1
    (tmp_path / "registry.toml").write_text('[[waiver]]\nversion = 2\nrule = "FH106"\nreason = "each has its own"\n')
    assert run(tmp_path, "--engine", "sqlite").returncode == 0

    for name, (module, package) in PACKAGES.items():
        absent = run(tmp_path, without=module)
        assert absent.returncode == 3
        assert f"not installed: {name}; `pip install {package}`" in absent.stderr
        assert absent.stdout == ""
    assert run(tmp_path, "--engine", "sqlite", without="turso").returncode == 0
