"""What lint finds out about rows by running a migration on generated ones: nothing goes without being said."""

from pathlib import Path

import pytest

from freehold.registry.lint.findings import Finding
from freehold.registry.lint.run import fingerprints, lint_folder
from freehold.registry.sum_file import sum_file_of

OFF = "-- foreign_keys: off\n"
CONTRACT = "-- phase: contract\n-- min_app: 2.0\n"
ROWS = {"FH010", "FH116", "FH117", "FH118"}

BEFORE = """CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, n INTEGER NOT NULL DEFAULT 0);
CREATE TABLE c (id INTEGER PRIMARY KEY, t_id INTEGER NOT NULL REFERENCES t (id) ON DELETE CASCADE, k TEXT UNIQUE);
CREATE INDEX c_t ON c (t_id);
CREATE TABLE m (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID;
CREATE TABLE s (code TEXT NOT NULL CHECK (length(code) = 3 AND code = upper(code)), amount REAL CHECK (amount > 0),
  st TEXT NOT NULL CHECK (st IN ('open', 'done')), CHECK ((st = 'done') = (amount IS NOT NULL)));
CREATE TABLE loose (k TEXT, v TEXT);
"""
SHAPE = "(id INTEGER PRIMARY KEY, a TEXT, b TEXT, n INTEGER NOT NULL DEFAULT 0)"
COPY = "INSERT INTO t_new (id, a, b, n) SELECT id, a, b, n FROM t"


def rebuild(copy: str, was: str = "", becomes: str = "") -> str:
    """A rebuild of `t` with this copy; in the new shape a part is another."""
    shape = SHAPE.replace(was, becomes) if was else SHAPE
    assert not was or shape != SHAPE
    return f"{OFF}CREATE TABLE t_new {shape};\n{copy};\nDROP TABLE t;\nALTER TABLE t_new RENAME TO t;\n"


def rebuilt(name: str, shape: str, copy: str) -> str:
    return (
        f"{OFF}CREATE TABLE new_one {shape};\nINSERT INTO new_one {copy};\nDROP TABLE {name};\n"
        f"ALTER TABLE new_one RENAME TO {name};\n"
    )


async def linted(folder: Path, before: str, *steps: str) -> list[Finding]:
    for version, sql in enumerate((before, *steps), start=1):
        (folder / f"{version:04}_step.sql").write_text(sql)
    return [one for one in (await lint_folder(folder)).findings if one.code in ROWS]


LOSSES = [
    # Made again.
    [f"{OFF}DROP TABLE t; CREATE TABLE t {SHAPE}"],
    [f"{CONTRACT}{OFF}DROP TABLE t; CREATE TABLE t {SHAPE}"],
    [f'{OFF}drop table if exists main."T"; /* again */ create table if not exists "main".[T] {SHAPE}'],
    [f"{OFF}DROP TABLE t; CREATE TABLE draft {SHAPE}; ALTER TABLE draft RENAME TO t"],
    [f"{CONTRACT}{OFF}ALTER TABLE t RENAME TO t_old; CREATE TABLE t {SHAPE}"],
    [f"{CONTRACT}{OFF}DROP TABLE t", f"CREATE TABLE t {SHAPE}"],
    [f"{CONTRACT}{OFF}DROP TABLE t", "CREATE TABLE other (id INTEGER PRIMARY KEY)", f"CREATE TABLE t {SHAPE}"],
    [
        f"{CONTRACT}ALTER TABLE t RENAME TO t_old",
        f"CREATE TABLE t {SHAPE}; INSERT INTO t SELECT * FROM t_old WHERE n > 4",
        f"{CONTRACT}{OFF}DROP TABLE t_old",
    ],
    [f"{OFF}DROP TABLE t; CREATE TABLE t {SHAPE}; INSERT INTO t (a) VALUES {', '.join(['(1)'] * 40)}"],
    # Some rows.
    *(
        [rebuild(f"{COPY} {rest}")]
        for rest in (
            "WHERE a IS NOT NULL", "WHERE n < 100000000", "WHERE id > 0", "WHERE b <> 'archived' OR b IS NULL",
            "WHERE coalesce(b, '') NOT LIKE 'arch%'", "WHERE length(coalesce(a, '')) <= 200", "LIMIT 1000000",
            "ORDER BY id LIMIT 10 * 1000", "LIMIT -1 OFFSET 1", "WHERE id IN (SELECT t_id FROM c)",
            "GROUP BY a, b, n", "EXCEPT SELECT id, a, b, n FROM t WHERE n > 3",
        )
    ),
    [rebuild("INSERT INTO t_new SELECT t.id, a, b, n FROM t JOIN c ON c.t_id = t.id")],
    [rebuild("INSERT INTO t_new SELECT t.id, a, b, n FROM t, m WHERE m.k = t.a")],
    [rebuild("INSERT INTO t_new (a, b, n) SELECT DISTINCT a, b, n FROM t")],
    [rebuild("INSERT INTO t_new (a, b, n) SELECT a, b, n FROM t UNION SELECT a, b, n FROM t")],
    [rebuild("WITH k AS (SELECT * FROM t WHERE n > 5) INSERT INTO t_new SELECT * FROM k")],
    [rebuild(COPY.replace("INSERT", "INSERT OR IGNORE"), "a TEXT", "a TEXT UNIQUE")],
    [rebuild(COPY.replace("INSERT", "INSERT OR IGNORE"), "a TEXT", "a TEXT NOT NULL")],
    [rebuild(COPY.replace("INSERT", "INSERT OR IGNORE"), "DEFAULT 0", "DEFAULT 0 CHECK (n >= 0)")],
    [rebuild(COPY, "a TEXT", "a TEXT UNIQUE ON CONFLICT IGNORE")],
    [rebuild(COPY.replace("INSERT", "INSERT OR REPLACE"), "a TEXT", "a TEXT UNIQUE")],
    [rebuild(COPY.replace("INSERT", "REPLACE"), "a TEXT", "a TEXT UNIQUE COLLATE NOCASE")],
    [rebuild(f"{COPY} WHERE true ON CONFLICT DO NOTHING", "b TEXT", "b TEXT UNIQUE")],
    [rebuild(f"{COPY}; DELETE FROM t_new WHERE a IS NULL")],
    [rebuild(f"{COPY}; DELETE FROM t_new")],
    [
        rebuild(
            "CREATE TRIGGER z BEFORE INSERT ON t_new WHEN new.a IS NULL BEGIN SELECT raise(IGNORE); END;\n"
            f"{COPY}; DROP TRIGGER z"
        )
    ],
    [CONTRACT + rebuild(f"{COPY} WHERE a IS NOT NULL", "a TEXT", "a TEXT NOT NULL")],
    [f"{OFF}CREATE TABLE k AS SELECT * FROM loose WHERE v IS NOT NULL;"
     "DROP TABLE loose; ALTER TABLE k RENAME TO loose"],
    [
        f"{OFF}CREATE TABLE keep AS SELECT * FROM t; DROP TABLE t; CREATE TABLE t {SHAPE};"
        "INSERT INTO t SELECT * FROM keep WHERE id < 10; DROP TABLE keep"
    ],
    [rebuilt("m", "(k TEXT PRIMARY KEY, v TEXT)", "SELECT lower(k), v FROM m GROUP BY substr(k, 1, 1)")],
    [rebuilt("s", "(code TEXT, amount REAL, st TEXT)", "SELECT code, amount, st FROM s WHERE st = 'open'")],
    [rebuilt("loose", "(k TEXT, v TEXT)", "SELECT DISTINCT * FROM loose")],
    [f"{CONTRACT}DROP TABLE t"],  # its children go with it
    # Some values.
    [rebuild("INSERT INTO t_new (id, a, n) SELECT id, a, n FROM t")],
    [rebuild("INSERT INTO t_new (a, b, n) SELECT a, b, n FROM t")],
    [rebuild("INSERT INTO t_new SELECT id, a, '', n FROM t")],
    [rebuild("INSERT INTO t_new SELECT id, b, a, n FROM t")],
    [rebuild("INSERT INTO t_new SELECT * FROM t", "a TEXT, b TEXT", "b TEXT, a TEXT")],
    [rebuild("INSERT INTO t_new SELECT id, a, a, n FROM t")],
    ["ALTER TABLE t DROP COLUMN a; ALTER TABLE t ADD COLUMN a TEXT"],
    [f"{CONTRACT}ALTER TABLE t RENAME COLUMN a TO z; ALTER TABLE t ADD COLUMN a TEXT"],
    # What stands in the way is deleted first, with its other columns and its children.
    ["INSERT OR REPLACE INTO t (id, a) SELECT id, a FROM t"],
    ["REPLACE INTO main.t SELECT * FROM t"],
    ["WITH k AS (SELECT id FROM t) REPLACE INTO t (id, a, b, n) SELECT id, '', '', 0 FROM k"],
    ["UPDATE OR REPLACE c SET k = 'same' WHERE id > 0"],
    # A trigger of its own deletes.
    [
        "CREATE TRIGGER z AFTER INSERT ON loose BEGIN DELETE FROM c; END; INSERT INTO loose (k) VALUES ('go');"
        "DROP TRIGGER z"
    ],
    ["CREATE TRIGGER z AFTER DELETE ON loose BEGIN DELETE FROM c; END; DELETE FROM loose WHERE k IS NULL OR k <> ''"],
]  # fmt: skip


@pytest.mark.parametrize("steps", LOSSES)
async def test_rows_and_values_that_go_under_an_unchanged_name_are_found(tmp_path: Path, steps: list[str]) -> None:
    found = await linted(tmp_path, BEFORE, *steps)
    assert "FH116" in {one.code for one in found}, found


KEPT = [
    [rebuild(COPY)],
    [rebuild(f"{COPY} ORDER BY a LIMIT -1")],
    [rebuild(f"{COPY} WHERE true ON CONFLICT DO NOTHING")],
    [rebuild(f"{COPY} WHERE n > 5 UNION ALL SELECT id, a, b, n FROM t WHERE n <= 5")],
    [rebuild(f"{COPY}; INSERT INTO t_new (a) VALUES ('seed')")],
    [rebuild(f"{COPY}; UPDATE t_new SET a = 'fixed' WHERE n > 0")],
    [rebuild(f"UPDATE t SET a = 'none' WHERE a IS NULL; {COPY}")],
    [rebuild("INSERT INTO t_new SELECT id, trim(a), lower(b), n FROM t")],
    [rebuild("INSERT INTO t_new SELECT id, CASE WHEN a IN ('x', 'y') THEN a ELSE 'other' END, b, n FROM t")],
    [rebuild("INSERT INTO t_new SELECT id, CASE WHEN json_valid(a) THEN a ELSE '[]' END, b, n FROM t")],
    [rebuild(COPY, "PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT")],
    [CONTRACT + rebuild("INSERT INTO t_new SELECT id, coalesce(a, ''), b, n FROM t", "a TEXT", "a TEXT NOT NULL")],
    [CONTRACT + rebuild(COPY, "n INTEGER NOT NULL DEFAULT 0", "n TEXT")],
    [CONTRACT + rebuild(COPY, "a TEXT", "a INTEGER")],
    [CONTRACT + rebuild("INSERT INTO t_new SELECT id, CAST(a AS INTEGER), b, n FROM t", "a TEXT", "a INTEGER")],
    [CONTRACT + rebuild(COPY, "a TEXT", "a TEXT UNIQUE")],
    [CONTRACT + rebuild(COPY, "a TEXT", "a TEXT NOT NULL CHECK (a <> '')")],
    [CONTRACT + rebuild("INSERT INTO t_new (id, a, n) SELECT id, a, n FROM t", " b TEXT,", "")],
    [CONTRACT + rebuild("INSERT INTO t_new (id, a, n) SELECT id, a || coalesce(b, ''), n FROM t", " b TEXT,", "")],
    [f"{CONTRACT}DELETE FROM t WHERE id NOT IN (SELECT min(id) FROM t GROUP BY a);", rebuild(COPY)],
    ["DELETE FROM t WHERE n < 0"],
    ["INSERT OR REPLACE INTO loose (k, v) VALUES ('a', 'b')"],
    ["INSERT OR REPLACE INTO m SELECT k, upper(v) FROM m"],
    ["REPLACE INTO m (k, v) SELECT lower(k), v FROM m WHERE k = 'x'"],
    ["UPDATE OR REPLACE m SET v = 'x' WHERE k <> ''"],
    ["CREATE TRIGGER z AFTER INSERT ON loose BEGIN DELETE FROM c; END"],
    ["CREATE TRIGGER z AFTER DELETE ON t BEGIN DELETE FROM loose WHERE k = old.a; END;"
     "UPDATE t SET id = id + 900 WHERE n > 0"],
    ["CREATE TRIGGER z AFTER INSERT ON loose BEGIN DELETE FROM m; END; CREATE TABLE y (i INTEGER PRIMARY KEY)",
     "CREATE TRIGGER y_ai AFTER INSERT ON y BEGIN SELECT 1; END; INSERT INTO loose (k) VALUES ('go')"],
    [f"{CONTRACT}DROP TABLE c"],
    [f"{CONTRACT}ALTER TABLE t RENAME TO u; ALTER TABLE c RENAME COLUMN k TO kk"],
    [rebuilt("s", "(code TEXT, amount REAL, st TEXT)", "SELECT * FROM s WHERE st IN ('open', 'done')")],
    [rebuilt("m", "(k TEXT PRIMARY KEY, v TEXT)", "SELECT * FROM m")],
    [CONTRACT + rebuilt("m", "(k TEXT PRIMARY KEY, v TEXT)", "SELECT 'x-' || k, v FROM m")],
    [rebuilt("loose", "(k TEXT, v TEXT)", "SELECT * FROM loose")],
    [f"{OFF}CREATE TABLE keep AS SELECT * FROM t; DROP TABLE t; CREATE TABLE t {SHAPE};"
     "INSERT INTO t SELECT * FROM keep; DROP TABLE keep"],
]  # fmt: skip


@pytest.mark.parametrize("steps", KEPT)
async def test_a_rebuild_that_keeps_or_turns_what_was_there_is_left_alone(tmp_path: Path, steps: list[str]) -> None:
    assert await linted(tmp_path, BEFORE, *steps) == []


ALLOW = "-- allow: FH109 on our own servers only\n"
SEARCH = f"""{ALLOW}CREATE TABLE letter (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, stamp INTEGER);
CREATE VIRTUAL TABLE letter_fts USING fts5(body, content='letter', content_rowid='rowid');
CREATE TRIGGER letter_ai AFTER INSERT ON letter BEGIN
  INSERT INTO letter_fts(rowid, body) VALUES (new.rowid, new.body);
END;
CREATE TABLE note (id INTEGER PRIMARY KEY, txt TEXT);
CREATE VIRTUAL TABLE place USING fts5(name, ref UNINDEXED, tokenize='unicode61');
CREATE VIRTUAL TABLE box USING rtree(id, x0, x1, +label);
CREATE VIRTUAL TABLE less USING fts5(a, content='');
CREATE TABLE seen (k TEXT, v TEXT);
CREATE VIRTUAL TABLE words USING fts5vocab('letter_fts', 'row');
CREATE VIEW seen_rows AS SELECT rowid AS r, k FROM seen;
"""
LETTER = f"""{CONTRACT}DROP TRIGGER letter_ai;
CREATE TABLE letter_new (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, stamp TEXT);
INSERT INTO letter_new {{copy}} FROM letter; DROP TABLE letter; ALTER TABLE letter_new RENAME TO letter;
CREATE TRIGGER letter_ai AFTER INSERT ON letter BEGIN
  INSERT INTO letter_fts(rowid, body) VALUES (new.rowid, new.body);
END;
"""
PORTER = "CREATE VIRTUAL TABLE {name} USING fts5(name, ref UNINDEXED, tokenize='porter');"
AGAIN = "DROP TABLE letter_fts; CREATE VIRTUAL TABLE letter_fts USING fts5(body, content='letter', tokenize='porter')"
NOTES = "CREATE VIRTUAL TABLE note_fts USING fts5(txt, content='note', content_rowid='id')"
REBUILT = "; INSERT INTO {name}({name}) VALUES ('rebuild')"


def place(copy: str) -> str:
    made = PORTER.format(name="p")
    return f"{made}INSERT INTO p {copy} FROM place; DROP TABLE place; ALTER TABLE p RENAME TO place"


SEARCHES = [
    ("DROP TABLE place;" + PORTER.format(name="place"), {"FH116"}),
    ("DROP TABLE place; CREATE TABLE place (name TEXT, ref TEXT)", {"FH116"}),
    ("DROP TABLE note; CREATE VIRTUAL TABLE note USING fts5(id, txt)", {"FH116"}),
    ("DROP TABLE box; CREATE VIRTUAL TABLE box USING rtree(id, x0, x1)", {"FH116"}),
    ("DROP TABLE less; CREATE VIRTUAL TABLE less USING fts5(a, content='', tokenize='porter')", {"FH116"}),
    (place("(rowid, name) SELECT rowid, name"), {"FH116"}),
    (place("(name, ref) SELECT name, ref"), {"FH117"}),
    (place("(rowid, name, ref) SELECT rowid, name, ref"), set()),
    ("CREATE VIRTUAL TABLE box2 USING rtree(id, x0, x1, +label); INSERT INTO box2 SELECT id, x0, x1, label FROM box;"
     "DROP TABLE box; ALTER TABLE box2 RENAME TO box", set()),
    (AGAIN, {"FH118"}),
    (AGAIN + REBUILT.format(name="letter_fts"), set()),
    ("DROP TABLE words; CREATE VIRTUAL TABLE words USING fts5vocab('letter_fts', 'col')", set()),
    (CONTRACT + "ALTER TABLE letter RENAME COLUMN body TO words", {"FH118"}),
    (CONTRACT + "DROP TRIGGER letter_ai; DROP TABLE letter", {"FH118"}),
    (CONTRACT + "DROP TRIGGER letter_ai; DROP TABLE letter; DROP TABLE letter_fts", set()),
    (NOTES, {"FH118"}),
    (NOTES + REBUILT.format(name="note_fts"), set()),
    ("CREATE TABLE nn (id INTEGER PRIMARY KEY, t TEXT); CREATE VIRTUAL TABLE n USING fts5(t, content='nn')", set()),
    (LETTER.format(copy="SELECT id, body, stamp"), {"FH117"}),
    (LETTER.format(copy="SELECT id, body, stamp") + REBUILT.format(name="letter_fts")[2:], set()),
    (LETTER.format(copy="(rowid, id, body, stamp) SELECT rowid, id, body, stamp"), set()),
    ("UPDATE letter SET body = body || '!!' || body WHERE stamp > 0", {"FH118"}),
    ("DROP VIEW seen_rows; CREATE TABLE s2 (k TEXT, v TEXT); INSERT INTO s2 SELECT * FROM seen; DROP TABLE seen;"
     "ALTER TABLE s2 RENAME TO seen; CREATE VIEW seen_rows AS SELECT rowid AS r, k FROM seen", {"FH117"}),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "codes"), SEARCHES)
async def test_virtual_tables_keep_their_rows_and_indexes_fit_them(tmp_path: Path, sql: str, codes: set[str]) -> None:
    found = await linted(tmp_path, SEARCH, f"{ALLOW}{OFF}{sql}")
    assert {one.code for one in found} == codes, found


async def test_an_index_without_its_table_gets_advice_of_its_own(tmp_path: Path) -> None:
    [found] = await linted(tmp_path, SEARCH, f"{ALLOW}{CONTRACT}{OFF}DROP TRIGGER letter_ai; DROP TABLE letter")
    assert found.message == ("letter_fts can no longer be read: the table or a column that it indexes is gone")
    assert found.fix.startswith("Drop it too, or make it again")


async def test_a_trigger_that_uses_row_numbers_is_led_astray_by_a_rebuild(tmp_path: Path) -> None:
    before = """CREATE TABLE word (w TEXT); CREATE TABLE log (nr INTEGER PRIMARY KEY, what TEXT);
CREATE TRIGGER logged AFTER UPDATE ON word BEGIN INSERT INTO log (what) VALUES (old._rowid_); END;"""
    make = "CREATE TRIGGER logged AFTER UPDATE ON word BEGIN INSERT INTO log (what) VALUES (old._rowid_); END"
    copies = [("(w) SELECT w FROM word", ["FH117"]), ("(rowid, w) SELECT rowid, w FROM word", [])]
    for copy, codes in copies:
        found = await linted(tmp_path, before, rebuilt("word", "(w TEXT, x TEXT)", copy) + make)
        assert [one.code for one in found] == codes


async def test_what_a_release_before_did_is_not_told_again_and_a_waiver_for_it_stays_of_use(tmp_path: Path) -> None:
    found = await linted(tmp_path, BEFORE, f"{OFF}DROP TABLE t; CREATE TABLE t {SHAPE}")
    assert [(one.code, one.line, one.statement) for one in found] == [("FH116", 2, 1)]
    whole = await lint_folder(tmp_path)
    seal = sum_file_of(whole.migrations, list(fingerprints(whole).values()))
    assert "FH116" not in {one.code for one in (await lint_folder(tmp_path, seal)).findings}
    waiver = '[[waiver]]\nversion = 2\nrule = "FH116"\nreason = "nobody had rows"\n'
    (tmp_path / "registry.toml").write_text(waiver)
    for base in (None, seal):
        codes = {one.code for one in (await lint_folder(tmp_path, base)).findings}
        assert not codes & {"FH116", "FH113"}


async def test_a_migration_that_runs_on_no_row_at_all_is_not_blamed(tmp_path: Path) -> None:
    refuses = "UPDATE t SET n = abs(-9223372036854775808) WHERE id = id;\n"
    assert await linted(tmp_path, BEFORE, rebuild(refuses + COPY)) == []
