"""Differences between schemas: applied to the one they give the other, and no row is lost."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.libsql.values import SqlValue
from freehold.migrate.apply import apply
from freehold.migrate.fingerprint import ask
from freehold.migrate.names import quoted
from freehold.migrate.schema import Schema, Table, read_schema
from freehold.migrate.snapshot import sqlite_scratch
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.registry.diff.author import draft
from freehold.registry.diff.difference import CannotDiff, Difference, difference, run_all, schema_of
from freehold.registry.types import BadRegistry

TYPES = ["INTEGER", "TEXT", "REAL", "BLOB", "VARCHAR(20)", ""]
NAMES = ["a", "b", "c", "d", "odd name", "order", "check"]
TABLES = ["t", "u", "v_w", "Group"]
KEYS = ["INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT", "TEXT NOT NULL PRIMARY KEY"]
EXTRAS = [
    "",
    "",
    "NOT NULL DEFAULT 'x'",
    "DEFAULT 7",
    "DEFAULT (1 + 2)",
    "NOT NULL",
    "COLLATE NOCASE",
    "CHECK (1)",
    "UNIQUE",
    "NOT NULL DEFAULT 1.5",
    "NOT NULL DEFAULT x'00'",
]
ORDER = ["TABLE", "INDEX", "VIEW", "TRIGGER"]


@st.composite
def objects(draw: st.DrawFn, name: str, names: list[str]) -> list[str]:
    """A table and what belongs to it."""
    columns = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=5))
    parts = [f"id {draw(st.sampled_from(KEYS))}"]
    for column in columns:
        words = [quoted(column), draw(st.sampled_from(TYPES)), draw(st.sampled_from(EXTRAS))]
        parts.append(" ".join(words).strip())
    if draw(st.booleans()):
        parts.append("twin INTEGER")
    if draw(st.booleans()):
        parts.append(f"parent TEXT REFERENCES {quoted(draw(st.sampled_from(names)))} (id) ON DELETE CASCADE")
    if draw(st.booleans()):
        parts.append(f"CHECK ({quoted(columns[0])} IS NOT 'never (;)' OR id IS NULL)")
    if draw(st.booleans()):
        parts.append(f"UNIQUE (id, {quoted(columns[0])})")
    made = [f"CREATE TABLE {quoted(name)} ({', '.join(parts)})"]
    if draw(st.booleans()):
        made.append(f"CREATE INDEX {quoted('i ' + name)} ON {quoted(name)} ({quoted(columns[0])})")
    if draw(st.booleans()):
        made.append(f"CREATE VIEW {quoted('see ' + name)} AS SELECT id FROM {quoted(name)}")
        made.append(f"CREATE VIEW {quoted('over ' + name)} AS SELECT count(*) FROM {quoted('see ' + name)}")
    if draw(st.booleans()):
        body = f"DELETE FROM {quoted(draw(st.sampled_from(names)))} WHERE id = OLD.id;"
        made.append(f"CREATE TRIGGER {quoted('on ' + name)} AFTER DELETE ON {quoted(name)} BEGIN {body} END")
    return made


@st.composite
def schemas(draw: st.DrawFn) -> list[str]:
    """A schema in which all rows of another such schema fit: checks hold always, references may be NULL."""
    names = draw(st.lists(st.sampled_from(TABLES), unique=True, max_size=4))
    made = [sql for name in names for sql in draw(objects(name, names))]
    return sorted(made, key=lambda sql: ORDER.index(sql.split()[1]))


def filled(schema: Schema) -> list[str]:
    """Three rows for each table; the second references the first."""
    statements = []
    for table in schema.tables.values():
        columns = [column for column in table.columns if column.name != "id" and not column.is_generated]
        for number in (1, 2, 3):
            values = [str(number)]
            for column in columns:
                if column.name == "parent":
                    values.append("'1'" if number == 2 else "NULL")
                else:
                    values.append(f"'{number}{column.name[0]}'" if number != 3 or column.not_null else "NULL")
            names = ", ".join(["id", *(quoted(column.name) for column in columns)])
            statements.append(f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({', '.join(values)})")
    return statements


async def rows(target: Target, schema: Schema, kept: Schema) -> dict[str, list[list[SqlValue]]]:
    """By table, the columns that both schemas have and that need not hold other values."""
    found = {}
    for name, table in schema.tables.items():
        if (other := kept.tables.get(name)) is not None and not table.is_virtual:
            names = sorted(column.name for column in table.columns if _same_value(table, other, column.name))
            shown = ", ".join(map(quoted, names)) or "1"
            [found[name]] = await ask(target, f"SELECT {shown} FROM {quoted(table.name)} ORDER BY 1")
    return found


def _same_value(table: Table, other: Table, name: str) -> bool:
    one, two = table.column(name), other.column(name)
    if one is None or two is None or one.is_generated:
        return False
    return (one.type, one.not_null) == (two.type, two.not_null)


async def tried(before: Sequence[str], after: Sequence[str]) -> Difference:
    """The difference, applied to a database with rows; asserts what must hold."""
    one, other = await schema_of(before), await schema_of(after)
    found = await difference(one, other)
    async with sqlite_scratch() as target:
        assert await run_all(target, before, is_off=True) is None
        assert await run_all(target, filled(one), is_off=True) is None
        was = await rows(target, one, other)
        refused = await run_all(target, found.statements, is_off=found.foreign_keys_off)
        assert refused is None, (refused, found.statements)
        assert (await read_schema(target)).fingerprint == other.fingerprint
        assert await rows(target, other, one) == was
        assert await ask(target, "PRAGMA integrity_check") == [[["ok"]]]
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas(), schemas())
async def test_a_difference_gives_the_other_schema_and_keeps_the_rows(before: list[str], after: list[str]) -> None:
    await tried(before, after)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas())
async def test_nothing_leads_from_a_schema_to_itself(before: list[str]) -> None:
    other = [sql.replace("CREATE", "create  /* again */") for sql in before]
    found = await difference(await schema_of(before), await schema_of(other))
    assert found.statements == ()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas().filter(bool), schemas())
async def test_an_expand_and_a_contract_lead_there_and_nothing_is_broken_between(
    before: list[str], after: list[str]
) -> None:
    migrations = [Migration(version=1, name="begin", sql=";\n".join(before))]
    declared = await schema_of(after)
    for min_app in ("", "2.0"):
        drafted = await draft(migrations, declared, "change", min_app=min_app)
        if drafted.migration is not None:
            migrations.append(drafted.migration)
        async with sqlite_scratch() as target:
            await apply(target, migrations)
            now = await read_schema(target)
            # A view or trigger that uses what is not there is refused here, not when it is made.
            for name in now.views:
                await ask(target, f"SELECT * FROM {quoted(name)} LIMIT 0")
            for name in now.tables:
                await ask(target, f"EXPLAIN DELETE FROM {quoted(name)}")
        if not drafted.left:
            break
    again = await draft(migrations, declared, "change")
    assert (again.migration, again.left) == (None, ())


T = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT{})"
CHILD = "CREATE TABLE u (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES t (id) ON DELETE CASCADE)"
KEYED = "CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL)"
VIEW = "CREATE VIEW v AS SELECT a FROM t"
VIEW_ON_VIEW = "CREATE VIEW w AS SELECT count(*) AS n FROM v"
OTHER = "CREATE TABLE o (id INTEGER PRIMARY KEY, a TEXT)"
CLEAN_UP = "CREATE TRIGGER g AFTER INSERT ON o BEGIN DELETE FROM o WHERE a = (SELECT n FROM w); END"


async def test_what_alter_table_can_do_is_not_a_rebuild() -> None:
    found = await tried([T.format("")], [T.format(", b TEXT NOT NULL DEFAULT 'x', -- why\n c REAL")])
    assert found.statements == (
        """ALTER TABLE "t" ADD COLUMN b TEXT NOT NULL DEFAULT 'x'""",
        'ALTER TABLE "t" ADD COLUMN c REAL',
    )
    found = await tried([T.format(", b TEXT")], [T.format("")])
    assert found.statements == ('ALTER TABLE "t" DROP COLUMN "b"',)
    assert not found.foreign_keys_off


async def test_the_order_of_columns_is_no_difference() -> None:
    found = await tried([T.format(", b TEXT")], ["CREATE TABLE T (b text, id integer primary key, [a] text)"])
    assert found.statements == ()


async def test_a_rebuild_keeps_children_and_says_what_it_made_up() -> None:
    found = await tried([T.format(""), CHILD], [T.format(" NOT NULL CHECK (a <> 'never')"), CHILD])
    assert found.foreign_keys_off
    assert found.statements[1] == ("""INSERT INTO "t_new" ("id", "a")\nSELECT "id", coalesce("a", '')\nFROM "t\"""")
    assert found.notes == ("t.a becomes NOT NULL: rows without a value get ''",)


async def test_a_column_that_is_for_numbers_now_is_for_a_person_to_look_at() -> None:
    found = await tried([T.format("")], [T.format("").replace("a TEXT", "a INTEGER")])
    assert found.notes == ("t.a is for numbers now: the text 007 becomes 7",)


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        ("n INTEGER)", "n REAL)", "whole numbers beyond 9007199254740992 lose their last digits"),
        ("n NUMERIC)", "n DOUBLE)", "whole numbers beyond 9007199254740992 lose their last digits"),
        ("n REAL)", "n TEXT)", "of fractions 15 digits are kept"),
        ("n)", "n TEXT)", "of fractions 15 digits are kept"),
        ("n ANY) STRICT", "n ANY)", "the text 007 becomes 7"),
        ("n ANY) STRICT", "n INTEGER)", "the text 007 becomes 7"),
        ("n)", "n NOT NULL DEFAULT 7)", "rows without a value get 7"),
        ("n)", "n NOT NULL DEFAULT (1 + 1))", "rows without a value get (1 + 1)"),
        ("n TEXT)", "n TEXT NOT NULL DEFAULT NULL)", "rows without a value get ''"),
    ],
)
async def test_values_that_a_rebuild_changes_are_named(before: str, after: str, note: str) -> None:
    found = await tried(
        [f"CREATE TABLE t (id INTEGER PRIMARY KEY, {before}"], [f"CREATE TABLE t (id INTEGER PRIMARY KEY, {after}"]
    )
    assert len(found.notes) == 1
    assert found.notes[0].endswith(note) or note in found.notes[0]


@pytest.mark.parametrize("after", ["n ANY) STRICT", "n BLOB)", "n INTEGER)"])
async def test_what_keeps_every_value_has_nothing_to_name(after: str) -> None:
    found = await tried(
        ["CREATE TABLE t (id INTEGER PRIMARY KEY, n ANY)"], [f"CREATE TABLE t (id INTEGER PRIMARY KEY, {after}"]
    )
    assert found.notes == ()


async def test_any_is_another_type_where_the_table_is_strict() -> None:
    migrations = [Migration(version=1, name="begin", sql="CREATE TABLE t (id INTEGER PRIMARY KEY, n ANY) STRICT")]
    drafted = await draft(migrations, await schema_of(["CREATE TABLE t (id INTEGER PRIMARY KEY, n ANY)"]), "loosen")
    assert drafted.left == ("t.n was of any type and is any now",)


async def test_a_row_without_a_value_gets_one_though_the_default_is_null() -> None:
    before, after = ["CREATE TABLE t (n INTEGER)"], ["CREATE TABLE t (n INTEGER NOT NULL DEFAULT NULL)"]
    found = await difference(await schema_of(before), await schema_of(after))
    async with sqlite_scratch() as target:
        rows = ["INSERT INTO t VALUES (NULL), (3)"]
        assert await run_all(target, [*before, *rows, *found.statements], is_off=True) is None
        assert await ask(target, "SELECT n FROM t") == [[[0], [3]]]


async def test_what_is_made_up_stays_a_comment_whatever_it_holds() -> None:
    migrations = [Migration(version=1, name="begin", sql='CREATE TABLE t (id INTEGER PRIMARY KEY, "a\n\nb" TEXT)')]
    declared = await schema_of(["CREATE TABLE t (id INTEGER PRIMARY KEY, \"a\n\nb\" TEXT NOT NULL DEFAULT 'x\ny')"])
    drafted = await draft(migrations, declared, "require", min_app="2.0")
    assert drafted.migration is not None
    async with sqlite_scratch() as target:
        await apply(target, [*migrations, drafted.migration])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([T.format(", g AS (id + 1)")], [T.format(", g AS (id + 2)")]),
        ([T.format("")], ["CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT) STRICT"]),
        ([KEYED], [KEYED + " WITHOUT ROWID"]),
        ([T.format(""), VIEW], [T.format(""), "CREATE VIEW v AS SELECT id FROM t"]),
        ([T.format(""), VIEW], [T.format(" COLLATE NOCASE"), VIEW]),
        ([T.format(", UNIQUE (a)")], [T.format(", UNIQUE (a) ON CONFLICT REPLACE")]),
        ([T.format(""), CHILD], [CHILD.replace("REFERENCES t (id) ON DELETE CASCADE", ""), "CREATE TABLE w (a)"]),
        ([T.format(""), "CREATE TABLE v (id, a)"], [T.format(""), "CREATE VIEW v AS SELECT id, a FROM t"]),
        (["CREATE VIRTUAL TABLE f USING fts5(id, a)"], ["CREATE VIRTUAL TABLE f USING fts5(id, a, b)"]),
        ([T.format("")], [T.format(", b BLOB DEFAULT (randomblob(2))")]),
        ([T.format("")], [T.format(", b INTEGER DEFAULT (1 + 2), c REAL DEFAULT -1.5e3, d DEFAULT x'00'")]),
        ([T.format(", t_new TEXT"), "CREATE TABLE t_new (id)"], [T.format(" CHECK (1)"), "CREATE TABLE t_new (id)"]),
        ([T.format(", b")], ["CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, c TEXT UNIQUE, CHECK (a <> '(,'))"]),
        ([T.format(""), VIEW, VIEW_ON_VIEW], [T.format(" CHECK (a <> 'q')"), VIEW, VIEW_ON_VIEW]),
        (
            [T.format(""), OTHER, VIEW, VIEW_ON_VIEW, CLEAN_UP],
            [T.format(" COLLATE NOCASE"), OTHER, VIEW, VIEW_ON_VIEW, CLEAN_UP],
        ),
        ([T.format(", b REAL")], [T.format(", b REAL NOT NULL DEFAULT 1.5")]),
        ([T.format(", b REAL")], [T.format(", b REAL NOT NULL DEFAULT -.5e-3")]),
        ([T.format(", b")], [T.format(", b NOT NULL DEFAULT - 7")]),
        ([T.format(", b BLOB")], [T.format(", b BLOB NOT NULL DEFAULT x'00ff'")]),
        ([T.format(", b")], [T.format(", b NOT NULL DEFAULT ('a' || (1 <= 2)) CHECK (b <> ')')")]),
        ([T.format(", b")], [T.format(", b NOT NULL DEFAULT 'it''s; so'")]),
        ([T.format(", b")], [T.format(', b TEXT NOT NULL DEFAULT "odd \'text"')]),
        ([T.format(", b")], [T.format(", b TEXT NOT NULL DEFAULT word")]),
        ([T.format(", b")], [T.format(", b NOT NULL DEFAULT CURRENT_TIMESTAMP")]),
        ([T.format("")], [T.format(", b TEXT AS (a || 1) STORED")]),
        ([T.format("")], [T.format(', "check" TEXT COLLATE NOCASE, "primary" TEXT, "constraint" TEXT')]),
        ([T.format(', "check" TEXT COLLATE NOCASE')], [T.format(', "check" TEXT')]),
        ([T.format(""), "CREATE INDEX i ON t (lower(a))"], [T.format(""), "CREATE INDEX i ON t (upper(a))"]),
    ],
)
async def test_other_changes_come_out_as_wanted(before: list[str], after: list[str]) -> None:
    found = await tried(before, after)
    assert found.statements


async def test_numbers_of_autoincrement_are_never_given_out_again() -> None:
    sql = "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT{})"
    found = await difference(await schema_of([sql.format("")]), await schema_of([sql.format(" CHECK (1)")]))
    async with sqlite_scratch() as target:
        before = [sql.format(""), "INSERT INTO t VALUES (41, 'x')", "DELETE FROM t"]
        assert await run_all(target, [*before, *found.statements], is_off=True) is None
        assert await run_all(target, ["INSERT INTO t (a) VALUES ('y')"], is_off=True) is None
        assert await ask(target, "SELECT id FROM t") == [[[42]]]


async def test_an_additive_difference_takes_nothing_away() -> None:
    before = [T.format(", gone TEXT"), "CREATE TABLE old (a)", "CREATE VIEW v AS SELECT gone FROM t"]
    after = [T.format(" NOT NULL, b TEXT, c TEXT NOT NULL"), "CREATE TABLE fresh (a)", "CREATE UNIQUE INDEX i ON t (a)"]
    wanted = await schema_of(after)
    found = await difference(await schema_of(before), wanted, is_additive=True)
    assert found.statements == ('ALTER TABLE "t" ADD COLUMN b TEXT', "CREATE TABLE fresh (a)")
    rest = await difference(found.result, wanted)
    assert rest.result.fingerprint == wanted.fingerprint


@pytest.mark.parametrize(
    ("after", "steps"),
    [
        (
            [T.format(", b TEXT NOT NULL, c TEXT"), "CREATE INDEX i ON t (b)", "CREATE VIEW v AS SELECT b FROM t",
             VIEW_ON_VIEW, CLEAN_UP.replace("ON o", "ON t").replace("FROM o", "FROM t")],
            ["expand", "contract"],
        ),
        ([T.format(", b TEXT UNIQUE")], ["expand"]),
        ([T.format(", b TEXT, c TEXT, UNIQUE (b, c)")], ["expand"]),
        ([T.format(", b TEXT AS (a || 1) STORED"), "CREATE INDEX i ON t (b)"], ["expand"]),
        ([T.format(" CHECK (a <> 'x'), b TEXT UNIQUE, c TEXT")], ["expand", "contract"]),
        ([T.format(" NOT NULL DEFAULT 'x'")], ["contract"]),
        (["CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER)"], ["contract"]),
    ],
)  # fmt: skip
async def test_what_older_apps_bear_comes_first_and_stands_by_itself(after: list[str], steps: list[str]) -> None:
    migrations = [Migration(version=1, name="begin", sql=T.format(""))]
    declared = await schema_of(after)
    found = []
    for min_app in ("", "2.0"):
        drafted = await draft(migrations, declared, "change", min_app=min_app)
        if drafted.migration is not None:
            migrations.append(drafted.migration)
            found.append("contract" if "-- phase: contract" in drafted.migration.sql else "expand")
            async with sqlite_scratch() as target:  # an older app can write between the two
                await apply(target, migrations)
                if found[-1] == "expand":
                    assert await run_all(target, ["INSERT INTO t (a) VALUES (NULL)"], is_off=False) is None
        if not drafted.left:
            break
    assert found == steps
    again = await draft(migrations, declared, "change")
    assert (again.migration, again.left) == (None, ())


@pytest.mark.parametrize(
    "after",
    [
        [T.format(", b TEXT NOT NULL UNIQUE")],
        [T.format(", b TEXT DEFAULT 'x', c INTEGER NOT NULL, UNIQUE (b, c)")],
        [T.format(", b TEXT NOT NULL DEFAULT 'x'"), "CREATE UNIQUE INDEX i ON t (b)"],
    ],
)
async def test_what_would_give_all_rows_the_same_value_for_a_unique_column_is_refused(after: list[str]) -> None:
    with pytest.raises(CannotDiff, match=r"t \(b.*\) is new and UNIQUE, and each row would get the same value"):
        await difference(await schema_of([T.format("")]), await schema_of(after))


@pytest.mark.parametrize(
    "after",
    [
        [T.format(", b TEXT NOT NULL, UNIQUE (a, b)")],
        [T.format(", b TEXT NOT NULL DEFAULT (hex(randomblob(8))) UNIQUE")],
        [T.format(", b TEXT DEFAULT 'x'"), "CREATE UNIQUE INDEX i ON t (b) WHERE b <> 'x'"],
    ],
)
async def test_what_is_unique_with_the_rest_or_by_chance_is_not(after: list[str]) -> None:
    await tried([T.format("")], after)


@pytest.mark.parametrize(
    ("before", "after", "steps"),
    [
        (["CREATE INDEX x ON t (a)"], ["CREATE TABLE x (a)", "CREATE VIEW y AS SELECT a FROM x"], 1),
        (["CREATE VIEW x AS SELECT a FROM t"], ["CREATE TABLE x (a)", "CREATE TABLE z (a)"], 2),
        (["CREATE TABLE x (a)"], ["CREATE VIEW x AS SELECT a FROM t", "CREATE INDEX i ON t (a)"], 2),
        (["CREATE VIEW x AS SELECT a FROM t"], ["CREATE INDEX x ON t (a)"], 1),
    ],
)
async def test_a_name_goes_to_something_of_another_kind(before: list[str], after: list[str], steps: int) -> None:
    migrations = [Migration(version=1, name="begin", sql=";\n".join([T.format(""), *before]))]
    declared = await schema_of([T.format(""), *after])
    for min_app in ("", "2.0"):
        drafted = await draft(migrations, declared, "change", min_app=min_app)
        migrations += [drafted.migration] if drafted.migration else []
        if not drafted.left:
            break
    assert drafted.left == ()
    assert len(migrations) <= 1 + steps
    async with sqlite_scratch() as target:
        await apply(target, migrations)
        assert (await read_schema(target)).fingerprint == declared.fingerprint


@pytest.mark.parametrize("is_partial", [False, True])
async def test_views_are_out_of_the_way_of_a_rename_and_come_back(is_partial: bool) -> None:
    begin = [T.format(""), OTHER, VIEW, VIEW_ON_VIEW, CLEAN_UP]
    migrations = [Migration(version=1, name="begin", sql=";\n".join(begin))]
    after = [T.format("").replace("a TEXT", "b TEXT"), OTHER]
    rest = [VIEW.replace("SELECT a", "SELECT b"), VIEW_ON_VIEW, CLEAN_UP]
    declared = await schema_of(after if is_partial else [*after, *rest])
    drafted = await draft(
        migrations, declared, "rename_it", renames=[("t.a", "b")], min_app="2.0", is_partial=is_partial
    )
    assert drafted.migration is not None
    statements = list(drafted.migration.statements)
    rename = statements.index('ALTER TABLE "t" RENAME COLUMN "a" TO "b"')
    assert rename > statements.index('DROP VIEW "v"')
    async with sqlite_scratch() as target:
        await apply(target, [*migrations, drafted.migration])
        wanted = await schema_of([*after, VIEW.replace("SELECT a", 'SELECT "b"'), *rest[1:]])
        assert (await read_schema(target)).fingerprint == wanted.fingerprint


async def test_a_table_that_is_renamed_and_rebuilt_takes_two_migrations() -> None:
    migrations = [Migration(version=1, name="begin", sql=T.format(""))]
    declared = await schema_of([T.format(" NOT NULL").replace("TABLE t", "TABLE word")])
    with pytest.raises(CannotDiff, match="t cannot be renamed and rebuilt in one migration: write one that only"):
        await draft(migrations, declared, "both", renames=[("t", "word")], min_app="2.0")
    only = await schema_of([T.format("").replace("TABLE t", "TABLE word")])
    for wanted, renames in ((only, [("t", "word")]), (declared, [])):
        drafted = await draft(migrations, wanted, "step", renames=renames, min_app="2.0")
        assert drafted.migration is not None
        migrations.append(drafted.migration)
    async with sqlite_scratch() as target:
        await apply(target, migrations)
        assert (await read_schema(target)).fingerprint == declared.fingerprint


async def test_a_declared_schema_that_is_refused_says_where() -> None:
    with pytest.raises(BadRegistry, match="syntax error at `CREATE TABEL t"):
        await schema_of(["CREATE TABEL t (a)"])
