"""What lint says of the schema that migrations leave, of engines and clients that cannot read it, and of refusals."""

from pathlib import Path

import pytest

from freehold.registry.lint.catalogue import RULES
from freehold.registry.lint.findings import Finding
from freehold.registry.lint.run import fingerprints, lint_folder
from freehold.registry.sum_file import SUM_FILE, sum_file_of

CONTRACT = "-- phase: contract\n-- min_app: 2.0\n"
P = "CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT, a INTEGER, b INTEGER);\n"
T = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER);\n"
LOG = "CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT, at TEXT DEFAULT CURRENT_TIMESTAMP);\n"
FTS = "-- allow: FH109 on our own servers only\n"
NOISE = {"FH024", "FH105"}


def trigger(body: str, when: str = "") -> str:
    return f"{T}{LOG}CREATE TRIGGER g AFTER UPDATE ON t {when} BEGIN {body}; END"


async def found(folder: Path, *files: str) -> list[Finding]:
    for version, sql in enumerate(files, start=1):
        (folder / f"{version:04}_step.sql").write_text(sql)
    return [one for one in (await lint_folder(folder)).findings if one.code not in NOISE]


BAD = {
    "FH109": [
        [T + "CREATE VIEW v AS SELECT id FROM t; CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN SELECT 1; END"],
        [T + "CREATE VIEW v AS SELECT a FROM t;"
         "create trigger if not exists g instead of delete on v begin select 1; end"],
        [T + "CREATE VIEW v AS SELECT * FROM t", CONTRACT + "ALTER TABLE t RENAME TO u"],
        [T + "CREATE VIEW v AS SELECT x.b FROM t AS x", CONTRACT + "ALTER TABLE t RENAME COLUMN b TO c"],
        [T + "CREATE VIEW v AS SELECT b FROM t; CREATE VIEW w AS SELECT 1 FROM v",
         CONTRACT + 'ALTER TABLE "t" RENAME b TO c'],
        [T + "CREATE INDEX i ON t (b) WHERE t.b > 0", CONTRACT + "ALTER TABLE t RENAME TO u"],
        ["CREATE TABLE c (a TEXT PRIMARY KEY, CHECK (a <> '') ON CONFLICT IGNORE)"],
    ],
    "FH119": [
        ["CREATE TABLE c (id INTEGER PRIMARY KEY, p_id INTEGER REFERENCES nowhere (id))"],
        [P + "CREATE TABLE c (id INTEGER PRIMARY KEY, p_id INTEGER, FOREIGN KEY (p_id) REFERENCES p (gone))"],
        [P + "CREATE TABLE c (id INTEGER PRIMARY KEY, p_code TEXT REFERENCES p (code))"],
        [P + "CREATE TABLE c (id INTEGER PRIMARY KEY, x, y, FOREIGN KEY (x, y) REFERENCES p (a, b))"],
        [P + "CREATE TABLE c (id INTEGER PRIMARY KEY, x, y, FOREIGN KEY (x, y) REFERENCES p)"],
        [P + "CREATE UNIQUE INDEX i ON p (code) WHERE a > 0;"
         "CREATE TABLE c (id INTEGER PRIMARY KEY, x REFERENCES p (code))"],
        [P + "CREATE UNIQUE INDEX i ON p (code COLLATE NOCASE);"
         "CREATE TABLE c (id INTEGER PRIMARY KEY, x REFERENCES p (code))"],
        ["CREATE TABLE q (a TEXT); CREATE TABLE c (id INTEGER PRIMARY KEY, x REFERENCES q)"],
        [P + "CREATE VIEW v AS SELECT id FROM p; CREATE TABLE c (id INTEGER PRIMARY KEY, x REFERENCES v (id))"],
        [FTS + "CREATE VIRTUAL TABLE f USING fts5(a); CREATE TABLE c (id INTEGER PRIMARY KEY, x REFERENCES f (a))"],
        [P + "CREATE TABLE c (id INTEGER PRIMARY KEY, x REFERENCES p (id))", CONTRACT + "DROP TABLE p"],
        [P, "ALTER TABLE p ADD COLUMN other INTEGER REFERENCES others (id)"],
    ],
    "FH120": [
        [P + "CREATE TABLE c (id INTEGER PRIMARY KEY, p_id INTEGER REFERENCES p (id))"],
        [P + "CREATE TABLE c (id INTEGER PRIMARY KEY, p_id INTEGER REFERENCES p); CREATE INDEX i ON c (id, p_id)"],
        [P + "CREATE TABLE c (id INTEGER PRIMARY KEY, x INTEGER REFERENCES p); CREATE INDEX i ON c (x) WHERE id > 5"],
    ],
    "FH121": [
        [T, "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c TEXT)"],
        [T, 'create table if not exists main."T" (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b INTEGER)'],
        [T + "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY)"],
        [T + "CREATE VIEW v AS SELECT a FROM t", "CREATE TABLE IF NOT EXISTS v (id INTEGER PRIMARY KEY)"],
        [T + "CREATE INDEX i ON t (a)", "CREATE INDEX IF NOT EXISTS i ON t (b)"],
        [T + "CREATE VIEW v AS SELECT a FROM t", "CREATE VIEW IF NOT EXISTS v AS SELECT b FROM t"],
        [FTS + "CREATE VIRTUAL TABLE f USING fts5(a)", FTS + "CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5(a, b)"],
    ],
    "FH122": [["CREATE TABLE a (b TEXT, c TEXT UNIQUE)"], [T + "CREATE TABLE a AS SELECT * FROM t"]],
    "FH123": [
        *(
            [trigger(f"UPDATE t SET a = {clock} WHERE id = new.id")]
            for clock in (
                "CURRENT_TIMESTAMP", "current_date", "datetime('now')", "DATE ( 'NOW' , 'localtime' )",
                "strftime('%s')", "strftime('%Y', 'now')", "unixepoch()", "julianday('now')", "time()", "random()",
                "hex(randomblob(4))", "(SELECT max(at, CURRENT_TIME) FROM log)", "unixepoch('subsec')",
            )
        ),
        [trigger("INSERT INTO log (what) VALUES (new.a)")],
        [trigger("SELECT 1; INSERT INTO log (id, what) SELECT id, a FROM t")],
        [trigger("SELECT raise(ABORT, 'too late')", "WHEN new.a < datetime('now')")],
    ],
    "FH124": [
        [T, 'INSERT OR IGNORE INTO t (id, a) VALUES (1, "hello")'],
        [T, 'UPDATE t SET b = 1 WHERE a = "z" AND b IS NULL'],
        ['CREATE TABLE c (a TEXT PRIMARY KEY CHECK (a <> "x"))'],
        [T + 'CREATE INDEX i ON t (b) WHERE a = "z"'],
        [T + 'CREATE VIEW v AS SELECT "nope" AS x, "a" AS y FROM t'],
        [T + LOG + 'CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO log (what, at) VALUES ("hi", new.a); END'],
        [T + LOG + 'CREATE TRIGGER g BEFORE UPDATE OF b ON t WHEN new.a = "hi" BEGIN SELECT 1; END'],
        [T, """ALTER TABLE t ADD COLUMN k TEXT CHECK (k <> "it""s")"""],
    ],
    "FH125": [
        [FTS + "CREATE VIRTUAL TABLE f using fts5(a)"],
        [FTS + "create virtual table if not exists f /* USING */ Using fts5(a)"],
    ],
    "FH126": [
        ["CREATE TABLE c (a TEXT PRIMARY KEY CHECK (a <> ''))"],
        [T, "ALTER TABLE t ADD COLUMN k TEXT CHECK (k <> '')"],
        ["CREATE TABLE c (a INTEGER PRIMARY KEY, b INTEGER, CONSTRAINT sane CHECK (a < b))"],
    ],
}  # fmt: skip

GOOD = [
    # What references is made before what it refers to, and a later version may mend what an earlier one left out.
    ["CREATE TABLE c (id INTEGER PRIMARY KEY, x INTEGER REFERENCES p (id)); CREATE INDEX i ON c (x)", P],
    [P + "CREATE TABLE c (id INTEGER PRIMARY KEY, x REFERENCES p (code)); CREATE INDEX i ON c (x)",
     "-- allow: FH104 none are alike\nCREATE UNIQUE INDEX p_code ON p (code)"],
    [P + "CREATE UNIQUE INDEX u ON p (b, a);"
     "CREATE TABLE c (x, y, PRIMARY KEY (x, y), FOREIGN KEY (x, y) REFERENCES p (a, b))"],
    [P + "CREATE TABLE c (id INTEGER PRIMARY KEY REFERENCES p (id) ON DELETE CASCADE)"],
    [P + "CREATE TABLE c (id INTEGER PRIMARY KEY, x INTEGER REFERENCES p)", "CREATE INDEX i ON c (x)"],
    [P + "CREATE TABLE c (id INTEGER PRIMARY KEY, x INTEGER REFERENCES p);"
     "CREATE INDEX i ON c (x) WHERE x IS NOT NULL"],
    [P + "CREATE TABLE c (x INTEGER REFERENCES p, y INTEGER REFERENCES p, PRIMARY KEY (x, y));"
     "CREATE INDEX i ON c (y)"],
    ["CREATE TABLE tree (id INTEGER PRIMARY KEY, up INTEGER REFERENCES tree (id)); CREATE INDEX i ON tree (up)"],
    [T, "CREATE TABLE IF NOT EXISTS t (a text, b Integer, /* all there */ \"id\" INTEGER PRIMARY KEY)"],
    [T, "ALTER TABLE t ADD COLUMN c TEXT;"
     "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c TEXT)"],
    [T + "CREATE INDEX IF NOT EXISTS i ON t (a)", "CREATE INDEX IF NOT EXISTS i ON t (a)"],
    ["CREATE TABLE IF NOT EXISTS zz (id INTEGER PRIMARY KEY)"],
    ["CREATE TABLE a (b TEXT, c TEXT, PRIMARY KEY (b, c))"],
    [T + "CREATE TABLE draft AS SELECT * FROM t; DROP TABLE draft"],
    [trigger("INSERT INTO log (what, at) VALUES ('now', new.a)")],
    [trigger("INSERT INTO log (what, at) VALUES (date(new.a), strftime('%Y', old.a))")],
    [trigger("UPDATE t SET a = datetime('now')"), "DROP TRIGGER g"],
    ['CREATE TABLE "order" ("group" TEXT PRIMARY KEY DEFAULT "none", "select" TEXT);'
     'CREATE INDEX "i x" ON "order" ("select")'],
    [T, "UPDATE \"t\" SET \"a\" = 'x' WHERE \"t\".\"b\" = 1"],
    [T + 'CREATE VIEW v ("x y") AS SELECT "a" FROM "t"; CREATE VIEW w AS SELECT "x y" AS "z" FROM v'],
    [T + LOG + 'CREATE TRIGGER "g" AFTER UPDATE OF "b" ON "t" BEGIN '
     """INSERT INTO "log" ("what", at) VALUES (new."a", 'x'); END"""],
    [T + "CREATE VIEW v AS SELECT b FROM t", CONTRACT + "DROP VIEW v; ALTER TABLE t RENAME COLUMN b TO c;"
     "CREATE VIEW v AS SELECT c AS b FROM t"],
    [T + "CREATE VIEW v AS SELECT a FROM t", CONTRACT + "ALTER TABLE t RENAME COLUMN b TO c"],
    [T + LOG + 'CREATE TRIGGER "on t" AFTER DELETE ON t BEGIN DELETE FROM log; END; CREATE VIEW "a v" AS SELECT 1',
     CONTRACT + 'DROP TRIGGER "on t"; DROP VIEW "a v"'],
    [FTS + "CREATE VIRTUAL TABLE f USING fts5(a)"],
    [FTS + 'CREATE VIRTUAL TABLE "using" USING fts5(a)'],
]  # fmt: skip


@pytest.mark.parametrize(("code", "files"), [(code, files) for code, cases in BAD.items() for files in cases])
async def test_what_breaks_a_rule_is_found_where_it_stands(tmp_path: Path, code: str, files: list[str]) -> None:
    findings = [one for one in await found(tmp_path, *files) if one.code == code]
    assert len(findings) == 1, await found(tmp_path, *files)
    assert (findings[0].line > 0, findings[0].severity) == (True, RULES[code].severity)
    assert findings[0].fix == RULES[code].fix
    assert findings[0].file == f"{len(files):04}_step.sql"


@pytest.mark.parametrize("files", GOOD)
async def test_what_keeps_the_rules_is_left_alone(tmp_path: Path, files: list[str]) -> None:
    assert await found(tmp_path, *files) == []


async def test_a_foreign_key_without_its_parent_says_what_is_missing(tmp_path: Path) -> None:
    sql = (
        P + "CREATE TABLE c (id INTEGER PRIMARY KEY, x REFERENCES p (gone), y REFERENCES p, z REFERENCES nowhere (id));"
    )
    told = {one.message for one in await found(tmp_path, sql + "CREATE INDEX a ON c (x); CREATE INDEX b ON c (y)")}
    assert "c (x) references p: `p` has no column gone" in told
    assert "c (z) references nowhere: there is no table `nowhere`" in told
    assert not any("c (y)" in message for message in told)


async def test_what_was_released_before_a_rule_came_is_not_told_unless_it_can_be_mended(tmp_path: Path) -> None:
    sql = trigger("UPDATE t SET a = datetime('now')") + ";CREATE TABLE a (b TEXT REFERENCES nowhere)"
    assert {one.code for one in await found(tmp_path, sql)} == {"FH119", "FH122", "FH123"}
    whole = await lint_folder(tmp_path)
    seal = sum_file_of(whole.migrations, list(fingerprints(whole).values()))
    (tmp_path / SUM_FILE).write_text(seal.text)
    again = {one.code for one in (await lint_folder(tmp_path, seal)).findings} - NOISE
    assert again == {"FH119"}  # every INSERT fails until a new version makes the table
    (tmp_path / "0002_step.sql").write_text("CREATE TABLE nowhere (id INTEGER PRIMARY KEY)")
    assert {one.code for one in (await lint_folder(tmp_path, seal)).findings} - NOISE == set()


async def test_a_waiver_without_a_version_holds_for_the_whole_folder(tmp_path: Path) -> None:
    waiver = '[[waiver]]\nrule = "FH122"\nreason = "logs alone"\n'
    (tmp_path / "registry.toml").write_text(waiver)
    assert await found(tmp_path, "CREATE TABLE a (b)", "CREATE TABLE c (d)") == []
    told = await found(tmp_path, "CREATE TABLE a (b PRIMARY KEY)", "CREATE TABLE c (d PRIMARY KEY)")
    assert [str(one) for one in told] == ["registry.toml: warning FH113 waiver: FH122 found nothing in any version"]
    (tmp_path / "registry.toml").write_text(waiver.replace("FH122", "FH010"))
    told = await found(tmp_path, "CREATE TABLE a (b PRIMARY KEY)", "CREATE TABLE c (d PRIMARY KEY)")
    assert [one.message for one in told] == ["FH010 cannot be waived"]


REFUSALS = {
    "INSERT INTO sqlite_schema VALUES ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f (a)')": "a line of a dump",
    "CREATE TABLE sqlite_sequence (name, seq)": "SQLite's own and come by themselves",
    "CREATE TABLE t (a)": "An earlier version has made it",
    "ALTER TABLE t ADD COLUMN a TEXT": "An earlier version has made it",
    "CREATE TABLE x (v, i AS (vector32(v)))": "only one engine does",
    "CREATE VIRTUAL TABLE x USING vec0(a)": "only one engine does",
    "CREATE TABLE x (a TEXT PRIMARY KEY COLLATE german)": "A collation of the app's own",
    "DROP TABLE nowhere": "look at the spelling",
    "UPDATE t SET gone = 1 WHERE id = 1": "look at the spelling",
    "ALTER TABLE t DROP COLUMN a": "What the message names uses the table or column",
    "INSERT INTO t (id, a) VALUES (1, 'a'), (1, 'b')": "correct that row",
    "ALTER TABLE t ADD COLUMN k TEXT UNIQUE": "ALTER TABLE cannot do this",
    "ALTER TABLE t DROP COLUMN id": "Something stands on it",
    "INSERT INTO t VALUES (1)": "Name the columns",
    "ALTER TABLE t ALTER COLUMN a TO a INTEGER": "libSQL's alone",
    "CREATE TABLE x (a TEXT": "before it is whole",
    "CREATE TABEL x (a TEXT)": "no SQL that SQLite knows",
    ".mode box": "no SQL that SQLite knows",
    "INSERT INTO c (id, t_id) VALUES (1, 99)": "Write parents before their children",
}


@pytest.mark.parametrize(("sql", "fix"), REFUSALS.items())
async def test_the_advice_fits_what_sqlite_refuses(tmp_path: Path, sql: str, fix: str) -> None:
    before = T + "CREATE VIEW v AS SELECT a FROM t; CREATE TABLE c (id INTEGER PRIMARY KEY, t_id REFERENCES t (id));"
    [one] = [one for one in await found(tmp_path, before, sql) if one.file.startswith("0002")]
    assert one.code == "FH010", one
    assert fix in one.fix, one


async def test_what_never_ends_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.migrate.snapshot._SCRATCH_S", 0.5)
    (tmp_path / "0001_begin.sql").write_text(
        "CREATE TABLE t (n INTEGER PRIMARY KEY);\n"
        "INSERT INTO t WITH RECURSIVE x (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x) SELECT max(i) FROM x"
    )
    [finding] = [one for one in (await lint_folder(tmp_path)).findings if one.severity == "error"]
    assert finding.code == "FH010"
    assert "interrupted" in finding.message
    assert "divide it" in finding.fix


async def test_the_advice_fits_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    files = {
        "notes.sql": (b"SELECT 1", "Rename it to NNNN_snake_case_name.sql"),
        "0001_make.sql": (b"\xef\xbb\xbfSELECT 1", "without a byte order mark"),
        "0002_make.sql": (b"SELECT '\xff'", "Save the file as UTF-8; the message has the first line"),
        "0003_make.sql": (b"SELECT 1;\n" * 400_000, "Divide it"),
        "0000_make.sql": (b"SELECT 1", "Give it a number from 0001 on"),
        f"0004_{'a' * 101}.sql": (b"SELECT 1", "100 characters at most"),
    }
    for name, (data, _) in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "0005_folder.sql").mkdir()
    told = {one.file: one.fix for one in (await lint_folder(tmp_path)).findings if one.code in {"FH001", "FH020"}}
    for name, (_, fix) in files.items():
        assert fix in told[name], (name, told)
    assert "may be read" in told["0005_folder.sql"]


@pytest.mark.parametrize(
    ("before", "after", "is_told"),
    [
        (("UNIQUE (a)",), "UNIQUE (a COLLATE NOCASE)", True),
        (("UNIQUE (a COLLATE NOCASE)",), "UNIQUE (a)", False),
        (("UNIQUE (a)",), "UNIQUE (a DESC)", False),
        (("UNIQUE (a, b)",), "UNIQUE (b, a)", False),
        (("UNIQUE (a)",), "UNIQUE (a, b)", False),
        (("UNIQUE (a, b)",), "UNIQUE (a)", True),
        ((), "PRIMARY KEY (a)", True),
        (("FOREIGN KEY (a) REFERENCES p DEFERRABLE INITIALLY DEFERRED",), "FOREIGN KEY (a) REFERENCES p (id)", True),
        (("FOREIGN KEY (a) REFERENCES p (id)",), "FOREIGN KEY (a) REFERENCES p DEFERRABLE INITIALLY DEFERRED", False),
        (("FOREIGN KEY (a) REFERENCES p (id)",), "FOREIGN KEY (a) REFERENCES p (id) ON DELETE CASCADE", False),
    ],
)  # fmt: skip
async def test_a_key_is_tightened_only_if_it_refuses_what_it_took(
    tmp_path: Path, before: tuple[str, ...], after: str, is_told: bool
) -> None:
    made = "CREATE TABLE {} ({})"
    parent = "CREATE TABLE p (id TEXT NOT NULL PRIMARY KEY);"
    old, new = (
        made.format("k", ", ".join(("a TEXT", "b TEXT", *before))),
        made.format("k_new", f"a TEXT, b TEXT, {after}"),
    )
    step = f"-- foreign_keys: off\n{new}; INSERT INTO k_new (rowid, a, b) SELECT rowid, a, b FROM k; DROP TABLE k;"
    (tmp_path / "0001_begin.sql").write_text(parent + old)
    (tmp_path / "0002_step.sql").write_text(step + "ALTER TABLE k_new RENAME TO k")
    told = {one.code for one in (await lint_folder(tmp_path)).findings}
    assert ("FH104" in told) is is_told


async def test_what_makes_an_index_again_inserts_no_row(tmp_path: Path) -> None:
    (tmp_path / "0001_begin.sql").write_text(
        "CREATE TABLE d (id INTEGER PRIMARY KEY, a TEXT); CREATE VIRTUAL TABLE f USING fts5(a, content=d);"
        "CREATE VIRTUAL TABLE w USING fts5vocab(f, row); INSERT INTO d VALUES (1, 'running')"
    )
    (tmp_path / "0002_step.sql").write_text(
        "-- foreign_keys: off\nCREATE VIRTUAL TABLE f_new USING fts5(a, content=d, tokenize=porter); DROP TABLE f;"
        "ALTER TABLE f_new RENAME TO f; INSERT INTO f (f) VALUES ('rebuild')"
    )
    told = {one.code for one in (await lint_folder(tmp_path)).findings if one.file.startswith("0002")}
    assert told <= {"FH024", "FH109", "FH111"}
