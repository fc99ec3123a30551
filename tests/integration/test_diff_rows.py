# ruff: noqa: E501 - what is before and after stands side by side
"""`registry diff` over rows: what virtual tables hold, by which numbers rows are known, and what is refused."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from freehold.migrate.fingerprint import ask
from freehold.migrate.full_text_settings import with_settings
from freehold.migrate.integrity import fit_of
from freehold.migrate.schema import read_schema
from freehold.migrate.snapshot import sqlite_scratch
from freehold.migrate.target import Target
from freehold.providers.sqlite.file_target import local_scratch
from freehold.registry.diff.difference import CannotDiff, Difference, difference, run_all, schema_of
from freehold.registry.diff.rows import losses

PLACE = "CREATE VIRTUAL TABLE place USING fts5(name, ref UNINDEXED, tokenize='unicode61')"
PLACES = [
    "INSERT INTO place (rowid, name, ref) VALUES (7, 'Lisboa', 'r1'), (9, 'Porto', 7)",
    "DELETE FROM place WHERE rowid = 8",
]
FOUND = ("SELECT rowid, ref FROM place WHERE place MATCH 'porto'", [[9, 7]])
D = "CREATE TABLE d (id INTEGER PRIMARY KEY, a TEXT, b TEXT)"
LETTER = "CREATE TABLE d (id TEXT NOT NULL PRIMARY KEY, a TEXT, b TEXT{})"
F = "CREATE VIRTUAL TABLE f USING fts5(a, content='d'{})"
KEPT = [
    "CREATE TRIGGER d_ai AFTER INSERT ON d BEGIN INSERT INTO f (rowid, a) VALUES (new.rowid, new.a); END",
    "CREATE TRIGGER d_ad AFTER DELETE ON d BEGIN INSERT INTO f (f, rowid, a) VALUES ('delete', old.rowid, old.a); END",
    "CREATE TRIGGER d_au AFTER UPDATE ON d BEGIN INSERT INTO f (f, rowid, a) VALUES ('delete', old.rowid, old.a);"
    " INSERT INTO f (rowid, a) VALUES (new.rowid, new.a); END",
]
LETTERS = ["INSERT INTO d (rowid, id, a) VALUES (4, 4, 'running apples'), (6, 6, 'pear')"]
HITS = ("SELECT rowid FROM f WHERE f MATCH 'apples'", [[4]])
TREE = "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, +label)"
TREES = ["INSERT INTO r VALUES (3, 0.5, 1.5, 'one'), (9, 2, 4, NULL)"]

CARRIED = {
    "another tokenizer": ([PLACE], [PLACE.replace("unicode61", "trigram")], PLACES, FOUND),
    "a column more": ([PLACE], [PLACE.replace("name,", "name, kind,")], PLACES, FOUND),
    "a column less": ([PLACE], [PLACE.replace("name,", "")], PLACES, ("SELECT rowid, ref FROM place", [[7, "r1"], [9, 7]])),
    "another order": ([PLACE], ["CREATE VIRTUAL TABLE place USING fts5(ref UNINDEXED, name)"], PLACES, FOUND),
    "no sizes, less detail, prefixes": ([PLACE], [PLACE[:-1] + ", columnsize=0, detail=none, prefix='2 3')"], PLACES, FOUND),
    "indexed now": ([PLACE], [PLACE.replace(" UNINDEXED", "")], PLACES, FOUND),
    "another module": ([PLACE], ["CREATE VIRTUAL TABLE place USING fts4(name, ref, notindexed=ref)"], PLACES, FOUND),
    "from the older module": (["CREATE VIRTUAL TABLE place USING fts4(name, ref, tokenize=porter)"], [PLACE], PLACES, FOUND),
    "a plain table": ([PLACE], ["CREATE TABLE place (id INTEGER PRIMARY KEY, name TEXT, ref)"], PLACES,
                      ("SELECT id, name, ref FROM place", [[7, "Lisboa", "r1"], [9, "Porto", 7]])),
    "a plain table without a number": ([PLACE], ["CREATE TABLE place (name TEXT, ref)"], PLACES,
                                       ("SELECT rowid, ref FROM place", [[7, "r1"], [9, 7]])),
    "from a plain table": (["CREATE TABLE place (name TEXT, ref)"], [PLACE], PLACES, FOUND),
    "an R-tree with another pair": ([TREE], [TREE.replace("x1,", "x1, y0, y1,")], TREES,
                                    ("SELECT id, x0, x1, y0, y1, label FROM r", [[3, 0.5, 1.5, 0, 0, "one"], [9, 2, 4, 0, 0, None]])),
    "an R-tree without what was beside": ([TREE], [TREE.replace(", +label", "")], TREES, ("SELECT * FROM r", [[3, 0.5, 1.5], [9, 2, 4]])),
    "an R-tree with another key": ([TREE], [TREE.replace("(id", "(number")], TREES, ("SELECT number, x0 FROM r", [[3, 0.5], [9, 2]])),
    "an R-tree becomes a table": ([TREE], ["CREATE TABLE r (id INTEGER PRIMARY KEY, x0 REAL, x1 REAL, label TEXT)"], TREES,
                                  ("SELECT id, x1, label FROM r", [[3, 1.5, "one"], [9, 4, None]])),
    "outside content, another tokenizer": ([D, F.format(""), *KEPT], [D, F.format(", tokenize='porter'"), *KEPT], LETTERS, HITS),
    "a new index over rows": ([D], [D, F.format(", content_rowid='id'"), *KEPT], LETTERS, HITS),
    "a new index over a view": ([D], [D, "CREATE VIEW v AS SELECT id, a FROM d",
                                      "CREATE VIRTUAL TABLE f USING fts5(a, content=v, content_rowid=id)"], LETTERS, HITS),
    "outside content comes in": ([D, F.format(""), *KEPT], [D, "CREATE VIRTUAL TABLE f USING fts5(a)", *KEPT], LETTERS, HITS),
    "its content is rebuilt": ([D, F.format(""), *KEPT], [D.replace("b TEXT", "b INTEGER"), F.format(""), *KEPT], LETTERS, HITS),
    "content known by a hidden number": ([LETTER.format(""), F.format(""), *KEPT],
                                         [LETTER.format(" COLLATE NOCASE"), F.format(""), *KEPT], LETTERS, HITS),
    "a number that a column hides": ([LETTER.format(", rowid TEXT"), F.format(", content_rowid=_rowid_")],
                                     [LETTER.format(", rowid INTEGER, oid TEXT"), F.format(", content_rowid=_rowid_")],
                                     ["INSERT INTO d (_rowid_, id, a) VALUES (4, 'x', 'apples'), (9, 'y', 'pear')", "INSERT INTO f (f) VALUES ('rebuild')"], HITS),
    "its text becomes required": ([D, F.format(""), *KEPT], [D.replace("a TEXT", "a TEXT NOT NULL DEFAULT 'plum'"), F.format(""), *KEPT],
                                  [*LETTERS, "INSERT INTO d (id) VALUES (8)"], ("SELECT rowid FROM f WHERE f MATCH 'plum'", [[8]])),
    "a table below the view of a view": (
        [D, "CREATE VIEW v AS SELECT id, a FROM d", "CREATE VIEW w AS SELECT * FROM v", "CREATE VIRTUAL TABLE f USING fts5(a, content=w, content_rowid=id)"],
        [D.replace("a TEXT", "a TEXT NOT NULL DEFAULT 'plum'"), "CREATE VIEW v AS SELECT id, a FROM d", "CREATE VIEW w AS SELECT * FROM v",
         "CREATE VIRTUAL TABLE f USING fts5(a, content=w, content_rowid=id)"],
        [*LETTERS, "INSERT INTO d (id) VALUES (8)", "INSERT INTO f (f) VALUES ('rebuild')"], ("SELECT rowid FROM f WHERE f MATCH 'plum'", [[8]])),
    "the view below a view": (
        [D, "CREATE VIEW v AS SELECT id, a FROM d", "CREATE VIEW w AS SELECT * FROM v", "CREATE VIRTUAL TABLE f USING fts5(a, content=w, content_rowid=id)"],
        [D, "CREATE VIEW v AS SELECT id, a || ' plum' AS a FROM d", "CREATE VIEW w AS SELECT * FROM v",
         "CREATE VIRTUAL TABLE f USING fts5(a, content=w, content_rowid=id)"],
        [*LETTERS, "INSERT INTO f (f) VALUES ('rebuild')"], ("SELECT rowid FROM f WHERE f MATCH 'plum'", [[4], [6]])),
    "the key becomes the number": (["CREATE TABLE d (id INTEGER PRIMARY KEY DESC, a TEXT)", F.format("")], [D, F.format("")],
                                   ["INSERT INTO d (rowid, id, a) VALUES (1, 4, 'apples'), (2, 9, 'pear')"], HITS),
    "a key that triggers know by its own name": (
        ["CREATE TABLE d (id INTEGER PRIMARY KEY DESC, a TEXT)", "CREATE VIRTUAL TABLE f USING fts5(a, content='')", KEPT[0].replace("new.rowid", "new.id")],
        ["CREATE TABLE d (id INTEGER PRIMARY KEY, a TEXT)", "CREATE VIRTUAL TABLE f USING fts5(a, content='')", KEPT[0].replace("new.rowid", "new.id")],
        ["INSERT INTO d (id, a) VALUES (9, 'pear'), (4, 'apples')"], HITS,
    ),
    "a number of its own": ([LETTER.format(""), F.format("")], ["CREATE TABLE d (num INTEGER PRIMARY KEY, id TEXT, a TEXT, b TEXT)", F.format("")],
                            [*LETTERS, "INSERT INTO f (f) VALUES ('rebuild')"], HITS),
    "words of another index": ([D, F.format(""), *KEPT, "CREATE VIRTUAL TABLE w USING fts5vocab(f, 'row')"],
                               [D, F.format(""), *KEPT, "CREATE VIRTUAL TABLE w USING fts5vocab(f, 'col')"], LETTERS, HITS),
    "names that differ in a letter beyond Z": (
        ['CREATE TABLE d (id INTEGER PRIMARY KEY, "Ä" TEXT, "ä" TEXT)', 'CREATE TABLE "É" (a)', 'CREATE TABLE "é" (b)'],
        ['CREATE TABLE d (id INTEGER PRIMARY KEY, "Ä" TEXT, "ä" TEXT CHECK ("ä" <> 1))', 'CREATE TABLE "É" (a UNIQUE)', 'CREATE TABLE "é" (b)'],
        ["INSERT INTO d VALUES (1, 'large', 'small')", 'INSERT INTO "É" VALUES (2)', 'INSERT INTO "é" VALUES (3)'],
        ('SELECT "Ä", "ä", "É".a, "é".b FROM d, "É", "é"', [["large", "small", 2, 3]])),
    "letters with no lower case of their own": (
        ['CREATE TABLE "İ" (k TEXT, "\u212a" TEXT, "İx" TEXT)'], ['CREATE TABLE "İ" (k TEXT, "\u212a" TEXT UNIQUE, "İx" TEXT NOT NULL DEFAULT 0)'],
        ["INSERT INTO \"İ\" VALUES ('a', 'b', 'c')"], ('SELECT k, "\u212a", "İx" FROM "İ"', [["a", "b", "c"]])),
    "a name that is taken": ([PLACE, "CREATE TABLE place_new_data (x)", "CREATE TABLE place_new_ (x)"],
                             [PLACE.replace("unicode61", "ascii"), "CREATE TABLE place_new_data (x)", "CREATE TABLE place_new_ (x)"], PLACES, FOUND),
}  # fmt: skip


@asynccontextmanager
async def led(
    before: Sequence[str], after: Sequence[str], rows: Sequence[str]
) -> AsyncIterator[tuple[Target, Difference]]:
    """A database with rows, led from one schema to the other."""
    one, other = await schema_of(before), await schema_of(after)
    async with sqlite_scratch() as target:
        assert await run_all(target, [*before, *rows], is_off=False) is None
        found = await difference(await with_settings(target, one), other)
        refused = await run_all(target, found.statements, is_off=found.foreign_keys_off)
        assert refused is None, (refused, found.statements)
        now = await read_schema(target)
        assert now.fingerprint == other.fingerprint
        assert await ask(target, "PRAGMA integrity_check") == [[["ok"]]]
        yield target, found


@pytest.mark.parametrize("what", CARRIED)
async def test_rows_and_their_numbers_are_carried_over(what: str) -> None:
    before, after, rows, (query, wanted) = CARRIED[what]
    async with led(before, after, rows) as (target, found):
        assert await ask(target, query) == [wanted], found.statements
        fit = await fit_of(target, await read_schema(target))
        assert not fit.unfit


REFUSED = {
    "what keeps no texts": (["CREATE VIRTUAL TABLE f USING fts5(a, content='')"],
                            ["CREATE VIRTUAL TABLE f USING fts5(a, content='', tokenize='ascii')"], "f keeps no texts"),
    "own rows for no rows": ([PLACE], [PLACE[:-1] + ", content='')"], "the rows of place would go"),
    "own rows for another table's": ([D, "CREATE VIRTUAL TABLE f USING fts5(a)"], [D, F.format("")], "the rows of f would go"),
    "a table for an index of another": (["CREATE TABLE f (a)", D], [F.format(""), D], "the rows of f would go"),
    "a table for an R-tree": (["CREATE TABLE r (id INTEGER PRIMARY KEY, x0, x1)"], [TREE], "keeps numbers otherwise"),
    "whole numbers for others": ([TREE], [TREE.replace("rtree(", "rtree_i32(")], "keeps numbers otherwise"),
    "bounds that were none": (["CREATE VIRTUAL TABLE r USING rtree(id, a, b, c, d)"],
                              ["CREATE VIRTUAL TABLE r USING rtree(id, a, d)"], "a and d were no bounds of each other"),
    "languages": (["CREATE VIRTUAL TABLE f USING fts4(a, languageid=lang)"], ["CREATE VIRTUAL TABLE f USING fts4(a)"], "the language of each row"),
    "numbers that an index knows": ([LETTER.format(""), F.format("")], [LETTER.format("") + " WITHOUT ROWID", F.format("")],
                                    "the full-text index f knows them"),
    "numbers that a trigger knows": (
        ["CREATE TABLE d (id INTEGER PRIMARY KEY DESC, a TEXT)", "CREATE VIRTUAL TABLE f USING fts5(a, content='')", KEPT[0]],
        ["CREATE TABLE d (id INTEGER PRIMARY KEY, a TEXT)", "CREATE VIRTUAL TABLE f USING fts5(a, content='')", KEPT[0]], "trigger d_ai knows them"),
    "a key without values": ([D], ["CREATE TABLE d (id INTEGER, k TEXT NOT NULL PRIMARY KEY, a TEXT, b TEXT)"], "no value is known"),
    "a default that its check refuses": ([D], [D[:-1] + ", n INTEGER DEFAULT 0 CHECK (n > 0))"], "its own constraints refuse 0"),
    "a check that no NULL passes": ([D], [D[:-1] + ", n INTEGER CHECK (n IS NOT NULL))"], "its own constraints refuse NULL"),
    "an empty value that its check refuses": ([D], [D[:-1] + ", n TEXT NOT NULL CHECK (n IN ('a', 'b')))"], "its own constraints refuse ''"),
    "one value for all": ([D], [D, "CREATE UNIQUE INDEX i ON d (lower(c))"], "each row would get the same value"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
async def test_what_cannot_be_kept_is_refused_with_the_reason(what: str) -> None:
    before, after, reason = REFUSED[what]
    if "lower(c)" in after[-1]:
        after = [D.replace("b TEXT", "b TEXT, c TEXT NOT NULL DEFAULT 'x'"), after[-1]]
    with pytest.raises(CannotDiff, match=reason.replace("(", r"\(")):
        await difference(await schema_of(before), await schema_of(after))


@pytest.mark.parametrize("conflict", ["IGNORE", "REPLACE"])
async def test_a_constraint_that_drops_rows_drops_none_in_a_rebuild(conflict: str) -> None:
    before, after = ("CREATE TABLE t (a TEXT)", f"CREATE TABLE t (a TEXT COLLATE NOCASE UNIQUE ON CONFLICT {conflict})")
    found = await difference(await schema_of([before]), await schema_of([after]))
    async with sqlite_scratch() as target:
        rows = ["INSERT INTO t VALUES ('x'), ('X')"]
        assert await run_all(target, [before, *rows], is_off=False) is None
        refused = await run_all(target, found.statements, is_off=True)
        assert refused is not None
        assert "UNIQUE constraint failed" in refused[1]
        assert await ask(target, "SELECT a FROM t") == [[["x"], ["X"]]]


async def test_what_was_set_for_a_full_text_table_stays_set() -> None:
    ranked = "INSERT INTO place (place, rank) VALUES ('rank', 'bm25(10.0, 5.0)')"
    merged = "INSERT INTO place (place, rank) VALUES ('automerge', 2)"
    async with led([PLACE], [PLACE.replace("unicode61", "ascii")], [*PLACES, ranked, merged]) as (target, _):
        assert await ask(target, "SELECT k, v FROM place_config WHERE k <> 'version' ORDER BY k") == [
            [["automerge", 2], ["rank", "bm25(10.0, 5.0)"]]
        ]


async def test_a_new_index_that_only_triggers_fill_is_told_to_be_empty() -> None:
    for content in ("", ", content=''"):
        index = f"CREATE VIRTUAL TABLE f USING fts5(a{content})"
        found = await difference(await schema_of([D]), await schema_of([D, index, *KEPT]))
        assert found.notes == (
            "f starts empty: d_ai fills it from rows of d to come; those that are there have to be put in by a "
            "statement of yours",
        )


async def test_what_goes_for_good_is_named() -> None:
    before = [
        PLACE,
        D,
        "CREATE VIRTUAL TABLE f USING fts5(a, content='')",
        F.format("").replace(" f ", " g "),
        "CREATE TABLE gone (x)",
    ]
    after = [PLACE.replace("name, ", ""), "CREATE TABLE d (id INTEGER PRIMARY KEY, a TEXT, b AS (a || '!'))"]
    assert sorted(losses(await schema_of(before), await schema_of(after))) == [
        "drops the column place.name with all its values",
        "drops the index f, which cannot be rebuilt from itself",
        "drops the table gone with all its rows",
        "replaces all values of d.b by what an expression gives",
    ]


async def test_an_index_without_content_that_lets_rows_go_is_kept_apart_too() -> None:
    """A newer SQLite than this Python's has such tables."""
    made = "CREATE VIRTUAL TABLE f USING fts5(a, content='', contentless_delete=1{})"
    one = await schema_of([D, made.format("")], local_scratch)
    other = await schema_of([D, made.format(", tokenize='ascii'")], local_scratch)
    with pytest.raises(CannotDiff, match="f keeps no texts"):
        await difference(one, other, scratch=local_scratch)
    found = await difference(one, await schema_of([D, F.format("")], local_scratch), scratch=local_scratch)
    assert found.statements[-1] == """INSERT INTO "f" ("f") VALUES ('rebuild')"""


async def test_polygons_are_carried_over_where_the_engine_has_them() -> None:
    before, after = (f"CREATE VIRTUAL TABLE g USING geopoly(name{more})" for more in ("", ", kind"))
    one, other = await schema_of([before], local_scratch), await schema_of([after], local_scratch)
    found = await difference(one, other, scratch=local_scratch)
    rows = ["INSERT INTO g (rowid, _shape, name) VALUES (5, '[[0,0],[2,0],[1,1],[0,0]]', 'three')"]
    async with local_scratch() as target:
        assert await run_all(target, [before, *rows, *found.statements], is_off=True) is None
        query = "SELECT rowid, name, kind FROM g WHERE geopoly_overlap(_shape, '[[0,0],[1,0],[1,1],[0,0]]')"
        assert await ask(target, query) == [[[5, "three", None]]]
