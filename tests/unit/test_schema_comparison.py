# ruff: noqa: E501 - pairs of statements stand side by side
"""What is a difference between two schemas is whatever the engine acts on, and nothing else."""

import pytest

from freehold.registry.diff.describe import differences
from freehold.registry.diff.difference import schema_of

# Of the statements below, by the version of 97dc196.
_RECORDED = "cae8f3bbe7e1b37b094818eab4b5f1306ba381f87e162f03c0f62544f6ad9822"
_RECORDED_LETTERS = "a06542fdd598006f602486a0c808b32cae95273d18bcfacc065d45278f91fab5"

P = "CREATE TABLE p (id INTEGER PRIMARY KEY, k TEXT UNIQUE)"
T = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b TEXT)"
REFERENCE = "CREATE TABLE t (a INTEGER REFERENCES p (id) {})"
KEYS = "CREATE TABLE t (a TEXT, b TEXT, {})"
ON_T = "CREATE TRIGGER {} ON t {} BEGIN SELECT {}; END"

SAME = [
    ([P, REFERENCE.format("")], [P, "CREATE TABLE t (a INTEGER REFERENCES p)"]),
    (["CREATE TABLE t (a CHECK (a > 1))"], ["CREATE TABLE t (a CHECK ((a > 1)))"]),
    (["CREATE TABLE t (a, b AS (a || 1))"], ["CREATE TABLE t (a, b AS ((a || 1)))"]),
    ([T, "CREATE INDEX i ON t (lower(b)) WHERE b > 'x'"], [T, "CREATE INDEX i ON t ((lower(b))) WHERE (b > 'x')"]),
    ([P, REFERENCE.format("")], [P, REFERENCE.format("NOT DEFERRABLE")]),
    ([P, REFERENCE.format("")], [P, REFERENCE.format("NOT DEFERRABLE INITIALLY DEFERRED")]),
    ([P, REFERENCE.format("")], [P, REFERENCE.format("DEFERRABLE INITIALLY IMMEDIATE")]),
    ([P, REFERENCE.format("")], [P, REFERENCE.format("MATCH FULL ON DELETE NO ACTION")]),
    ([P, REFERENCE.format("DEFERRABLE INITIALLY DEFERRED")],
     [P, "CREATE TABLE t (a INTEGER, FOREIGN KEY (a) REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)"]),
    (["CREATE TABLE t (a TEXT)"], ["CREATE TABLE t (a TEXT COLLATE BINARY)"]),
    (["CREATE TABLE t (a TEXT)"], ["CREATE TABLE t (a TEXT DEFAULT NULL)"]),
    (["CREATE TABLE t (a TEXT)"], ["CREATE TABLE t (a TEXT NULL)"]),
    (["CREATE TABLE t (a TEXT DEFAULT 'It')"], ['CREATE TABLE t (a TEXT DEFAULT "It")']),
    (["CREATE TABLE t (a TEXT DEFAULT 'It')"], ["CREATE TABLE t (a TEXT DEFAULT It)"]),
    (["CREATE TABLE t (a TEXT DEFAULT 'It')"], ["CREATE TABLE t (a TEXT DEFAULT ('It'))"]),
    (["CREATE TABLE t (a CHECK (a <> 'It'))"], ['CREATE TABLE t (a CHECK (a != "It"))']),
    (["CREATE TABLE t (a CHECK (a <> 'It'))"], ["CREATE TABLE t (a, CONSTRAINT c CHECK (A <> 'It'))"]),
    (["CREATE TABLE t (a UNIQUE)"], ["CREATE TABLE t (a, CONSTRAINT u UNIQUE (a ASC) ON CONFLICT ABORT)"]),
    (["CREATE TABLE t (a NOT NULL)"], ["CREATE TABLE t (a CONSTRAINT n NOT NULL ON CONFLICT ABORT)"]),
    (["CREATE TABLE t (id INTEGER PRIMARY KEY)"], ["CREATE TABLE t (id INTEGER, PRIMARY KEY (id DESC))"]),
    (["CREATE TABLE t (id INTEGER PRIMARY KEY)"], ["CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY ASC)"]),
    (["CREATE TABLE t (a TEXT COLLATE NOCASE, UNIQUE (a))"],
     ["CREATE TABLE 't' ('a' text collate 'nocase', UNIQUE ('a' COLLATE NOCASE))"]),
    (["CREATE TABLE t (a, b AS (a + 1))"], ["CREATE TABLE T ([a], `b` GENERATED ALWAYS AS (\"a\" + 1) VIRTUAL)"]),
    (["CREATE TABLE t (a, b)"], ["CREATE TABLE t (b, -- the other\n a /* one */)"]),
    ([T, "CREATE INDEX i ON t (a, b)"], [T, "CREATE INDEX i ON t (a COLLATE NOCASE ASC, b COLLATE BINARY)"]),
    ([T, "CREATE INDEX i ON t (b) WHERE b > 'x'"], [T, 'CREATE INDEX "I" ON "T" ("b") WHERE b > "x"']),
    ([T, "CREATE VIEW v AS SELECT a AS x FROM t WHERE b = 'x y'"],
     [T, 'create view "v" as select A as x from "t" where "b" = "x y"']),
    ([T, ON_T.format("g BEFORE INSERT", "", 1)], [T, ON_T.format("g INSERT", "FOR EACH ROW", 1)]),
    ([T, ON_T.format("g AFTER INSERT", "", 1), ON_T.format("h AFTER DELETE", "", 1)],
     [T, ON_T.format("h AFTER DELETE", "", 1), ON_T.format("g AFTER INSERT", "", 1)]),
    (["CREATE VIRTUAL TABLE f USING fts5(a, b UNINDEXED)"],
     ["CREATE VIRTUAL TABLE F USING FTS5 ( \"A\",b unindexed, tokenize = \"unicode61\", detail=full, columnsize=1)"]),
    (["CREATE VIRTUAL TABLE f USING fts5(a, prefix='2 3', content=t)"],
     ["CREATE VIRTUAL TABLE f USING fts5(a, content='t', content_rowid='rowid', prefix='3,2')"]),
    (["CREATE VIRTUAL TABLE r USING rtree(id, a, b, +c)"], ["CREATE VIRTUAL TABLE r USING RTREE(id INT, a, b, +c TEXT)"]),
    (["CREATE VIRTUAL TABLE f USING fts4(a, tokenize=simple)"], ["CREATE VIRTUAL TABLE f USING fts4(a TEXT)"]),
]  # fmt: skip
OTHER = [
    (KEYS.format("UNIQUE (a)"), KEYS.format("UNIQUE (a COLLATE NOCASE)"), "UNIQUE constraints"),
    (KEYS.format("UNIQUE (a)"), KEYS.format("UNIQUE (a DESC)"), "UNIQUE constraints"),
    (KEYS.format("UNIQUE (a)"), KEYS.format("UNIQUE (a) ON CONFLICT IGNORE"), "UNIQUE constraints"),
    (KEYS.format("UNIQUE (a, b)"), KEYS.format("UNIQUE (b, a)"), "UNIQUE constraints"),
    (KEYS.format("PRIMARY KEY (a, b)"), KEYS.format("PRIMARY KEY (a, b DESC)"), "primary key"),
    (KEYS.format("PRIMARY KEY (a)"), KEYS.format("PRIMARY KEY (a COLLATE RTRIM)"), "primary key"),
    (KEYS.format("PRIMARY KEY (a)"), KEYS.format("PRIMARY KEY (a) ON CONFLICT REPLACE"), "primary key"),
    (KEYS.format("PRIMARY KEY (a, b)"), KEYS.format("PRIMARY KEY (b, a)"), "t"),
    ("CREATE TABLE t (id INTEGER PRIMARY KEY)", "CREATE TABLE t (id INTEGER PRIMARY KEY DESC)", "primary key"),
    ("CREATE TABLE t (id INTEGER PRIMARY KEY)", "CREATE TABLE t (id INT PRIMARY KEY)", "t.id"),
    ("CREATE TABLE t (id INTEGER PRIMARY KEY)",
     "CREATE TABLE t (id INTEGER PRIMARY KEY ON CONFLICT REPLACE)", "primary key"),
    ("CREATE TABLE t (id INTEGER PRIMARY KEY)", "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)", "options"),
    (REFERENCE.format(""), REFERENCE.format("DEFERRABLE INITIALLY DEFERRED"), "foreign keys"),
    ("CREATE TABLE t (a REFERENCES p DEFERRABLE INITIALLY DEFERRED, b REFERENCES p)",
     "CREATE TABLE t (a REFERENCES p, b REFERENCES p DEFERRABLE INITIALLY DEFERRED)", "foreign keys"),
    (REFERENCE.format(""), REFERENCE.format("ON DELETE SET NULL"), "foreign keys"),
    ('CREATE TABLE t (a CHECK (a <> "x"))', 'CREATE TABLE t (a CHECK (a <> "X"))', "CHECK"),
    ('CREATE TABLE t (a, x CHECK (a <> "x"))', "CREATE TABLE t (a, x CHECK (a <> 'x'))", "CHECK"),
    ("CREATE TABLE t (a DEFAULT Draft)", "CREATE TABLE t (a DEFAULT draft)", "t.a"),
    ('CREATE TABLE t (a DEFAULT "Draft")', 'CREATE TABLE t (a DEFAULT "draft")', "t.a"),
    ("CREATE TABLE t (a UNIQUE NOT NULL ON CONFLICT IGNORE)",
     "CREATE TABLE t (a UNIQUE ON CONFLICT IGNORE NOT NULL)", "t"),
    ("CREATE TABLE t ('a' TEXT)", "CREATE TABLE t ('a' TEXT COLLATE NOCASE)", "t.a"),
    ("CREATE TABLE t (a TEXT CHECK (a COLLATE NOCASE = 'x'))",
     "CREATE TABLE t (a TEXT COLLATE NOCASE CHECK (a = 'x'))", "t.a"),
    ("CREATE TABLE t (a, b AS (a) STORED)", "CREATE TABLE t (a, b AS (a))", "t.b"),
    ("CREATE TABLE t (a TEXT PRIMARY KEY NOT NULL)", "CREATE TABLE t (a TEXT PRIMARY KEY NOT NULL) WITHOUT ROWID", "options"),
    ("CREATE TABLE t (a TEXT)", "CREATE TABLE t (a TEXT) STRICT", "options"),
    ("CREATE TABLE t (a TEXT)", "CREATE VIRTUAL TABLE t USING fts5(a)", "t"),
    ("CREATE VIRTUAL TABLE f USING fts5(a, b)", "CREATE VIRTUAL TABLE f USING fts5(b, a)", "f"),
    ("CREATE VIRTUAL TABLE f USING fts5(a, b)", "CREATE VIRTUAL TABLE f USING fts5(a, b UNINDEXED)", "f"),
    ("CREATE VIRTUAL TABLE f USING fts5(a)", "CREATE VIRTUAL TABLE f USING fts5(a, content='')", "f"),
    ("CREATE VIRTUAL TABLE f USING fts5(a)", "CREATE VIRTUAL TABLE f USING fts4(a)", "f"),
    ("CREATE VIRTUAL TABLE f USING fts5(a, tokenize=\"unicode61 tokenchars 'a'\")",
     "CREATE VIRTUAL TABLE f USING fts5(a, tokenize=\"unicode61 tokenchars 'A'\")", "f"),
    ("CREATE VIRTUAL TABLE r USING rtree(id, a, b)", "CREATE VIRTUAL TABLE r USING rtree_i32(id, a, b)", "r"),
    # To SQLite only A to Z have a lower case.
    ('CREATE TABLE "Übung" (a)', 'CREATE TABLE "übung" (a)', "table übung is missing"),
    ("CREATE TABLE t (Größe TEXT)", "CREATE TABLE t (GRÖßE TEXT)", "column t.grÖße is missing"),
]  # fmt: skip
OTHERS_OF_T = [
    ("CREATE INDEX i ON t (b)", "CREATE INDEX i ON t (b DESC)"),
    ("CREATE INDEX i ON t (b)", "CREATE INDEX i ON t (b COLLATE NOCASE)"),
    ("CREATE INDEX i ON t (a)", "CREATE INDEX i ON t (a COLLATE BINARY)"),
    ("CREATE INDEX i ON t (b)", "CREATE UNIQUE INDEX i ON t (b)"),
    ("CREATE INDEX i ON t (b) WHERE b > 'x'", "CREATE INDEX i ON t (b) WHERE b > 'X'"),
    ('CREATE INDEX i ON t (b) WHERE b > "x"', 'CREATE INDEX i ON t (b) WHERE b > "X"'),
    ("CREATE INDEX i ON t (lower(b))", "CREATE INDEX i ON t (upper(b))"),
    ('CREATE VIEW v AS SELECT a FROM t WHERE b = "x"', 'CREATE VIEW v AS SELECT a FROM t WHERE b = "X"'),
    (ON_T.format("g AFTER INSERT", "", '"x"'), ON_T.format("g AFTER INSERT", "", '"X"')),
    (ON_T.format("g AFTER INSERT", "", 1), ON_T.format("g BEFORE INSERT", "", 1)),
    (ON_T.format("g AFTER INSERT", "", 1), ON_T.format("g AFTER INSERT", "WHEN new.a = 1", 1)),
    (ON_T.format("g AFTER UPDATE", "", 1), ON_T.format("g AFTER UPDATE OF a", "", 1)),
]


@pytest.mark.parametrize(("one", "other"), SAME)
async def test_what_acts_alike_is_no_difference(one: list[str], other: list[str]) -> None:
    first, second = await schema_of(one), await schema_of(other)
    assert differences(first, second) == []
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize(("one", "other", "named"), OTHER)
async def test_what_acts_otherwise_is_a_difference_and_is_named(one: str, other: str, named: str) -> None:
    first, second = await schema_of([P, one]), await schema_of([P, other])
    assert named in "; ".join(differences(first, second))
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize(("one", "other"), OTHERS_OF_T)
async def test_so_is_what_belongs_to_a_table(one: str, other: str) -> None:
    first, second = await schema_of([T, one]), await schema_of([T, other])
    assert len(differences(first, second)) == 1
    assert first.fingerprint != second.fingerprint


async def test_the_order_of_triggers_that_fire_at_once_is_a_difference() -> None:
    one, two = ON_T.format("g AFTER INSERT", "", 1), ON_T.format("h AFTER INSERT", "", 2)
    first, second = await schema_of([T, one, two]), await schema_of([T, two, one])
    assert differences(first, second) == ["triggers of t fire in a different order: h, g were made in this one"]
    assert first.fingerprint != second.fingerprint


async def test_what_was_recorded_of_other_letters_still_holds() -> None:
    schema = await schema_of(
        [
            'CREATE TABLE "Ä" (id INTEGER PRIMARY KEY, "Öx" TEXT COLLATE NOCASE DEFAULT \'Ü\','
            ' "\u212aq" TEXT UNIQUE, "İ" INT CHECK ("İ" > 0 AND "Öx" <> \'ÄÖ\'), Größe INT DEFAULT Ünder)',
            'CREATE TABLE k (a REFERENCES "Ä" ("Öx"), g AS (A||\'É\'))',
            'CREATE INDEX "ÉI" ON "Ä" ("Öx", lower("İ"))',
            'CREATE VIEW "Ñ" AS SELECT "Öx" AS "É é", GRÖSSE FROM (SELECT 1 AS GRÖSSE, \'Ö\' AS "Öx")',
            'CREATE TRIGGER "Ž" AFTER INSERT ON "Ä" BEGIN SELECT NEW."Öx", \'Ö\'; END',
            'CREATE VIRTUAL TABLE "ÉF" USING fts5("ÀB")',
        ]
    )
    assert schema.is_recorded_as(_RECORDED_LETTERS)


async def test_what_was_recorded_before_still_holds() -> None:
    """As `registry.sum` names it that was written by a version that saw less."""
    statements = [
        "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, a TEXT COLLATE NOCASE DEFAULT 'x', UNIQUE (a))",
        "CREATE TABLE u (id TEXT PRIMARY KEY, t_id INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)",
        "CREATE VIRTUAL TABLE f USING fts5(a, tokenize='porter')",
        "CREATE INDEX i ON t (a DESC) WHERE a IS NOT NULL",
        "CREATE VIEW v AS SELECT a FROM t",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM u; END",
    ]
    schema = await schema_of(statements)
    assert schema.is_recorded_as(_RECORDED)
    assert schema.is_recorded_as(schema.fingerprint)
    other = await schema_of([*statements[:-1], statements[-1].replace("INSERT", "DELETE")])
    assert not other.is_recorded_as(_RECORDED)
    assert not other.is_recorded_as(schema.fingerprint)
