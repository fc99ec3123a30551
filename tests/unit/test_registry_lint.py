"""What lint finds: for each rule a migration that breaks it, beside one that does the same rightly."""

import re
import subprocess
from pathlib import Path

import pytest
from testbed.servers import ROOT

from freehold.registry.lint.catalogue import CHECKS, RULES
from freehold.registry.lint.findings import Finding, is_failed
from freehold.registry.lint.run import fingerprints, lint_folder
from freehold.registry.sum_file import SUM_FILE, parse_sum_file, read_sum_file, sum_file_of
from freehold.registry.types import BadRegistry
from tests.unit.test_registry_lint_schema import BAD as OF_SCHEMA

BEFORE = """CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT NOT NULL, note TEXT);
CREATE TABLE cards (id INTEGER PRIMARY KEY, word_id INTEGER REFERENCES words (id) ON DELETE CASCADE, n INTEGER);
CREATE TABLE stamps (id INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP, kind TEXT DEFAULT 'a');
CREATE VIEW noted AS SELECT id FROM words WHERE note IS NOT NULL;
CREATE INDEX cards_n ON cards (n);
CREATE TABLE kinds (kind TEXT PRIMARY KEY CHECK (kind <> ''));
CREATE TABLE odd (id INTEGER PRIMARY KEY, "a b" TEXT);
"""
REBUILD = """CREATE TABLE words_new (id INTEGER PRIMARY KEY, word TEXT NOT NULL, note TEXT{column});
INSERT INTO words_new (id, word, note) SELECT id, word, note FROM words;
DROP VIEW noted;
DROP TABLE words; ALTER TABLE words_new RENAME TO words;
CREATE VIEW noted AS SELECT id FROM words WHERE note IS NOT NULL;
CREATE INDEX words_word ON words (word);"""
OFF = "-- foreign_keys: off\n"
CONTRACT = "-- phase: contract\n-- min_app: 2.0\n"
ODD_CHECK = (
    OFF + 'CREATE TABLE odd_new (id INTEGER PRIMARY KEY, "a b" TEXT CHECK ("a b" <> \'x\')); INSERT INTO odd_new (id, '
    '"a b") SELECT id, "a b" FROM odd; DROP TABLE odd; ALTER TABLE odd_new RENAME TO odd'
)


async def found(tmp_path: Path, sql: str, *, before: str = BEFORE) -> list[Finding]:
    """What lint says of a second migration."""
    (tmp_path / "0001_begin.sql").write_text(before)
    (tmp_path / "0002_change_it.sql").write_text(sql)
    linted = await lint_folder(tmp_path)
    return [finding for finding in linted.findings if finding.file.startswith("0002") and finding.code != "FH024"]


BAD = {
    "FH101": [
        "DROP TABLE cards",
        "DROP VIEW noted; DROP TABLE stamps",
        "DROP INDEX cards_n; ALTER TABLE cards DROP COLUMN n",
        "DROP VIEW noted",
        # Another table's column of that name is renamed; this one is dropped.
        "DROP INDEX cards_n; ALTER TABLE cards DROP COLUMN n; ALTER TABLE stamps RENAME COLUMN kind TO n",
        OFF
        + REBUILD.format(column="")
        .replace(", note TEXT)", ")")
        .replace("id, word, note", "id, word")
        .replace("CREATE VIEW noted AS SELECT id FROM words WHERE note IS NOT NULL;", "CREATE VIEW noted AS SELECT 1;"),
    ],
    "FH102": [
        "ALTER TABLE cards RENAME TO flashcards",
        "ALTER TABLE cards RENAME COLUMN n TO number",
        "ALTER TABLE cards RENAME n TO number",
    ],
    "FH103": [OFF + REBUILD.format(column=" NOT NULL"), OFF + REBUILD.format(column=", kind TEXT NOT NULL")],
    "FH104": [
        OFF + REBUILD.format(column=" CHECK (note <> '')"),
        OFF + REBUILD.format(column=", UNIQUE (word)"),
        "CREATE UNIQUE INDEX one_word ON words (word)",
        OFF + REBUILD.format(column=" REFERENCES words (id)"),
        OFF + REBUILD.format(column=" NOT NULL DEFAULT ''"),
        OFF + REBUILD.format(column="").replace("note TEXT);", "note TEXT) STRICT;"),
        "DROP INDEX cards_n; CREATE UNIQUE INDEX cards_n ON cards (n)",
        ODD_CHECK,
        "ALTER TABLE cards ADD COLUMN twice INTEGER AS (n + n) NOT NULL",
        "ALTER TABLE cards ADD COLUMN twice INTEGER AS (n + n) CHECK (twice < 100)",
        OFF + REBUILD.format(column=", lower_word TEXT AS (lower(word)) UNIQUE"),
        OFF + REBUILD.format(column=', l TEXT AS (lower(word)), "l l" TEXT AS (l || l) CHECK ("l l" <> \'\')'),
    ],
    "FH105": [
        "CREATE INDEX words_note ON words (note)",
        "DROP INDEX cards_n; CREATE INDEX cards_n ON cards (n, word_id)",
    ],
    "FH106": [
        "INSERT INTO words (id, word) VALUES (1, CURRENT_TIMESTAMP) ON CONFLICT DO NOTHING",
        "UPDATE words SET note = hex(randomblob(4)) WHERE note IS NULL",
        "UPDATE words SET note = random() WHERE note IS NULL",
        "INSERT INTO words (id, word) VALUES (1, strftime('%s', 'now')) ON CONFLICT DO NOTHING",
        "INSERT INTO stamps (id) VALUES (1) ON CONFLICT DO NOTHING",
        "CREATE TABLE copies AS SELECT id, datetime('now') AS at FROM words",
    ],
    "FH107": [
        "UPDATE words SET note = ''",
        "DELETE FROM cards",
        "DELETE FROM cards WHERE 1",
        "DELETE FROM cards WHERE true",
        "UPDATE cards SET n = 0 WHERE 1 = 1",
        "DELETE FROM cards WHERE id = id",
        "DELETE FROM cards WHERE n = 5 OR (1)",
        "DELETE FROM cards WHERE (n = 5 OR 'a' = 'a') AND true",
    ],
    "FH108": [
        "UPDATE cards SET n = n + 1 WHERE n > 0",
        "UPDATE words SET note = note || '.' WHERE note <> ''",
        "INSERT INTO words (word) VALUES ('a')",
        "INSERT INTO cards (word_id) SELECT id FROM words",
    ],
    "FH109": [
        "CREATE TABLE a (b INTEGER PRIMARY KEY) WITHOUT ROWID",
        "CREATE VIRTUAL TABLE s USING fts5(body)",
        "CREATE TABLE a (b INTEGER, c INTEGER GENERATED ALWAYS AS (b + 1))",
        "CREATE TABLE a (b INTEGER, c AS (b + 1))",
        "CREATE TABLE a (v F32_BLOB(3))",
        "ALTER TABLE cards ADD COLUMN twice INTEGER AS (n + n)",
    ],
    "FH110": ["REPLACE INTO words (id, word) VALUES (1, 'a')", "UPDATE OR IGNORE words SET word = 'b' WHERE id = 1"],
    "FH111": [
        "-- phase: shrink\nSELECT 1",
        "-- phase: contract\nSELECT 1",
        "-- min_app: two\nSELECT 1",
        "-- phase: expand\n-- phase: expand\nSELECT 1",
        "-- allow: FH107\nDELETE FROM cards",
    ],
    "FH114": [OFF + REBUILD.format(column="").replace("note TEXT", "note INTEGER")],
    "FH115": [
        "ALTER TABLE words ADD COLUMN made_at TEXT DEFAULT CURRENT_TIMESTAMP",
        "ALTER TABLE words ADD made_at TEXT DEFAULT (1 + 1)",
        "ALTER TABLE words ADD COLUMN kind TEXT NOT NULL",
        CONTRACT + "ALTER TABLE words ADD COLUMN kind TEXT NOT NULL",
        "ALTER TABLE cards ADD COLUMN other INTEGER DEFAULT 1 REFERENCES words (id)",
        "ALTER TABLE cards ADD COLUMN twice INTEGER AS (n + n) STORED",
        "ALTER TABLE cards ADD COLUMN size INTEGER DEFAULT 0 CHECK (size > 0)",
        "ALTER TABLE cards ADD COLUMN size INTEGER CHECK (size IS NOT NULL)",
        """ALTER TABLE cards ADD COLUMN "a (b" TEXT NOT NULL DEFAULT 'x' CHECK (length("a (b") = 2)""",
    ],
    "FH113": [
        "-- allow: FH107 because\nSELECT 1",
        "-- allow: FH999 because\nSELECT 1",
        "-- allow: FH001 because\nSELECT 1",
    ],
}
GOOD = [
    "CREATE TABLE decks (id INTEGER PRIMARY KEY, name TEXT NOT NULL); CREATE INDEX decks_name ON decks (name)",
    "ALTER TABLE words ADD COLUMN kind TEXT NOT NULL DEFAULT 'noun'",
    "ALTER TABLE words ADD COLUMN kind TEXT CHECK (kind IN ('noun', 'verb'))",
    'ALTER TABLE words ADD COLUMN "references" INTEGER DEFAULT 1',
    "-- allow: FH109 one engine\n"
    + OFF
    + REBUILD.format(column=", kind TEXT DEFAULT 'a', again TEXT AS (kind || kind) UNIQUE CHECK (again <> '')"),
    OFF + REBUILD.format(column=", kind TEXT NOT NULL DEFAULT 'noun'"),
    "INSERT INTO words (id, word) VALUES (1, 'now') ON CONFLICT DO NOTHING",
    "INSERT OR IGNORE INTO words (id, word) VALUES (1, 'a')",
    "INSERT INTO words (id, word) SELECT 1, 'a' WHERE NOT EXISTS (SELECT 1 FROM words)",
    "CREATE TABLE seeds (a PRIMARY KEY); INSERT INTO seeds VALUES (1); UPDATE seeds SET a = 2",
    "UPDATE words SET note = lower(note) WHERE note <> lower(note)",
    "DELETE FROM cards WHERE n = 5 OR 0",
    "DELETE FROM cards WHERE n = word_id AND 1",
    "CREATE TRIGGER counted AFTER INSERT ON cards BEGIN UPDATE cards SET n = n + 1; DELETE FROM stamps; END",
    "CREATE TABLE a (id INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP)",
    "INSERT INTO stamps (id, at) VALUES (1, 'then') ON CONFLICT DO NOTHING",
    CONTRACT + "DROP TABLE cards",
    CONTRACT + "DROP INDEX cards_n; ALTER TABLE cards DROP COLUMN n",
    CONTRACT + "ALTER TABLE cards RENAME COLUMN n TO number; ALTER TABLE stamps RENAME TO dates",
    CONTRACT + OFF + REBUILD.format(column="").replace("note TEXT", "note INTEGER"),
    OFF + REBUILD.format(column="").replace("note TEXT", "note VARCHAR(20)"),
    "ALTER TABLE words ADD COLUMN word_id INTEGER REFERENCES words (id); CREATE INDEX words_up ON words (word_id)",
    "ALTER TABLE words ADD COLUMN kind TEXT NOT NULL DEFAULT 'a' CHECK (kind IS NOT NULL)",
    "CREATE TABLE a (b TEXT PRIMARY KEY CHECK (CAST(b AS INTEGER) > 0), c TEXT)",
    "DELETE FROM cards WHERE EXISTS (SELECT 1 FROM words)",
    'CREATE TABLE "add" (id INTEGER PRIMARY KEY); ALTER TABLE "add" RENAME TO "rename";'
    'ALTER TABLE "rename" ADD COLUMN "add" TEXT; ALTER TABLE main.words ADD COLUMN "rename" TEXT',
    CONTRACT + OFF + REBUILD.format(column=" NOT NULL CHECK (note <> '')"),
    "-- allow: FH107 it has ten rows\nDELETE FROM cards",
]


@pytest.mark.parametrize(("code", "sql"), [(code, sql) for code, all_sql in BAD.items() for sql in all_sql])
async def test_what_breaks_a_rule_is_found_with_its_line(tmp_path: Path, code: str, sql: str) -> None:
    findings = [one for one in await found(tmp_path, sql) if one.code == code]
    assert findings, await found(tmp_path, sql)
    if code not in {"FH111", "FH113"}:
        assert all(one.line for one in findings)
    assert all(one.rule == RULES[code].slug and one.severity == RULES[code].severity for one in findings)


@pytest.mark.parametrize("sql", GOOD)
async def test_what_keeps_the_rules_is_left_alone(tmp_path: Path, sql: str) -> None:
    assert [one for one in await found(tmp_path, sql) if one.code != "FH105"] == []


def test_every_rule_that_looks_at_sql_is_tried_here() -> None:
    elsewhere = {"FH112", "FH116", "FH117", "FH118"}  # those about rows: test_registry_lint_rows.py
    assert {rule.code for rule in CHECKS} <= BAD.keys() | OF_SCHEMA.keys() | elsewhere


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("", "FH002"), ("COMMIT", "FH003"), ("VACUUM", "FH004"), ("PRAGMA foreign_keys = OFF", "FH005"),
        ("INSERT INTO words VALUES (?)", "FH006"), ("DROP TABLE freehold_ledger", "FH007"),
        (REBUILD.format(column=""), "FH008"),
        (OFF + "ALTER TABLE words RENAME TO o; CREATE TABLE words (a); DROP TABLE o", "FH009"),
        ("SELECT 'open", "FH001"), ("CREATE TABLE words (a)", "FH010"), ("SELECT nonsense FROM nowhere", "FH010"),
    ],
)  # fmt: skip
async def test_what_no_applier_takes_has_a_code_too_and_cannot_be_waived(tmp_path: Path, sql: str, code: str) -> None:
    assert code in {one.code for one in await found(tmp_path, sql)}
    waived = await found(tmp_path, f"-- allow: {code} please\n{sql}")
    assert code in {one.code for one in waived}


async def test_a_contract_in_one_release_with_its_expand_is_too_early(tmp_path: Path) -> None:
    (tmp_path / "0001_begin.sql").write_text(BEFORE)
    first = await sealed_at(tmp_path)
    (tmp_path / "0002_add_kind.sql").write_text("ALTER TABLE words ADD COLUMN kind TEXT")
    second = await sealed_at(tmp_path)
    (tmp_path / "0003_drop_note.sql").write_text(CONTRACT + "DROP VIEW noted; ALTER TABLE words DROP COLUMN note")
    codes = {one.code for one in (await lint_folder(tmp_path, first)).findings}
    assert "FH112" in codes
    assert "FH112" not in {one.code for one in (await lint_folder(tmp_path, second)).findings}
    (tmp_path / "0001_begin.sql").write_text(CONTRACT + BEFORE)
    (tmp_path / "0002_add_kind.sql").unlink()
    (tmp_path / "0003_drop_note.sql").unlink()
    assert "FH112" in {one.code for one in (await lint_folder(tmp_path)).findings}


async def sealed_at(folder: Path):  # type: ignore[no-untyped-def]
    linted = await lint_folder(folder)
    seal = sum_file_of(linted.migrations, list(fingerprints(linted).values()))
    (folder / SUM_FILE).write_text(seal.text)
    return seal


async def test_edited_missing_renamed_and_unsealed_files_are_told(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"000{number}_make_{number}.sql").write_text(f"CREATE TABLE t{number} (a PRIMARY KEY);\n")
    seal = await sealed_at(tmp_path)
    assert read_sum_file(tmp_path) == seal
    assert (await lint_folder(tmp_path)).findings == ()

    (tmp_path / "0002_make_2.sql").write_text("CREATE TABLE t2 (a PRIMARY KEY, b);\n")
    (tmp_path / "0004_make_4.sql").write_text("CREATE TABLE t4 (a PRIMARY KEY);\n")
    found = {(one.file, one.code) for one in (await lint_folder(tmp_path)).findings}
    assert found == {("0002_make_2.sql", "FH023"), ("0004_make_4.sql", "FH024")}
    # Editing the seal with it deceives nobody who knows what it was before.
    edited = await sealed_at(tmp_path)
    assert (await lint_folder(tmp_path)).findings == ()
    assert {one.code for one in (await lint_folder(tmp_path, seal)).findings} == {"FH023"}
    (tmp_path / SUM_FILE).write_text(edited.text.replace("chain:", "chain:0")[:-1])
    with pytest.raises(BadRegistry, match="line 1 cannot be understood"):
        await lint_folder(tmp_path)

    (tmp_path / SUM_FILE).write_text(seal.text)
    (tmp_path / "0004_make_4.sql").unlink()
    (tmp_path / "0003_make_3.sql").rename(tmp_path / "0003_make_it.sql")
    codes = {(one.file, one.code) for one in (await lint_folder(tmp_path)).findings}
    assert ("0003_make_3.sql", "FH025") in codes
    (tmp_path / "0003_make_it.sql").rename(tmp_path / "0002_again.sql")
    codes = {(one.file, one.code) for one in (await lint_folder(tmp_path)).findings}
    assert ("0002_make_2.sql", "FH022") in codes


def test_two_branches_that_take_the_same_number_conflict_in_git(tmp_path: Path) -> None:
    def git(*words: str) -> subprocess.CompletedProcess[str]:
        setup = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
        return subprocess.run(["git", *setup, *words], cwd=tmp_path, capture_output=True, text=True, check=False)

    def commit(name: str, versions: list[int]) -> None:
        linted = [(version, f"CREATE TABLE {name}{version} (a);\n") for version in versions]
        for version, sql in linted:
            (tmp_path / f"{version:04}_add_{name}.sql").write_text(sql)
        subprocess.run(
            [ROOT / ".venv/bin/freehold", "registry", "seal", "."], cwd=tmp_path, check=True, capture_output=True
        )
        assert git("add", "-A").returncode == 0
        assert git("commit", "-qm", name).returncode == 0

    git("init", "-q")
    commit("base", [1, 2])
    git("checkout", "-qb", "one")
    commit("one", [3])
    git("checkout", "-q", "main")
    git("checkout", "-qb", "two")
    commit("two", [3, 4])
    merged = git("merge", "one")
    assert merged.returncode != 0
    assert f"CONFLICT (content): Merge conflict in {SUM_FILE}" in merged.stdout
    with pytest.raises(BadRegistry, match="two branches took the same number"):
        parse_sum_file((tmp_path / SUM_FILE).read_text())


async def test_a_waiver_for_published_files_is_taken_from_the_folder_and_must_be_of_use(tmp_path: Path) -> None:
    assert {one.code for one in await found(tmp_path, "DELETE FROM cards")} == {"FH107"}
    waiver = '[[waiver]]\nversion = 2\nrule = "FH107"\nreason = "few rows"\n'
    (tmp_path / "registry.toml").write_text(waiver)
    assert await found(tmp_path, "DELETE FROM cards") == []
    assert {one.code for one in await found(tmp_path, "SELECT 1")} == {"FH113"}
    (tmp_path / "registry.toml").write_text(waiver.replace("version = 2", "version = 7"))
    linted = await lint_folder(tmp_path)
    assert "registry.toml: warning FH113 waiver: there is no version 7 to waive" in map(str, linted.findings)
    (tmp_path / "registry.toml").write_text(waiver.replace("reason", "because"))
    with pytest.raises(BadRegistry, match=r"registry.toml: .*because"):
        await found(tmp_path, "SELECT 1")


async def test_the_registry_that_ships_passes_even_strictly() -> None:
    linted = await lint_folder(ROOT / "schema_registry" / "bahar")
    assert [str(one) for one in linted.findings] == []
    assert not is_failed(linted.findings, strict=True)


def test_every_rule_is_documented_as_it_is() -> None:
    page = (ROOT / "docs/lint.md").read_text()
    assert re.findall(r"^### (FH\d{3}) ", page, re.MULTILINE) == sorted(RULES)
    for rule in RULES.values():
        section = page.split(f"### {rule.code} {rule.slug} ({rule.severity})\n", 1)[1].split("\n### ", 1)[0]
        flat = " ".join(section.split())
        assert " ".join(rule.why.split()) in flat, rule.code
        assert " ".join(rule.fix.split()) in flat, rule.code
