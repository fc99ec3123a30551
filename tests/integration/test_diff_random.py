"""Differences between random schemas, over random rows: each row is kept, or what is lost is named."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from random import Random

from freehold.libsql.values import SqlValue
from freehold.migrate.apply import apply
from freehold.migrate.fingerprint import ask
from freehold.migrate.full_text_settings import with_settings
from freehold.migrate.names import quoted
from freehold.migrate.schema import Column, Schema, Table, read_schema
from freehold.migrate.snapshot import sqlite_scratch
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.migrate.virtual import Keeps
from freehold.registry.diff.author import draft
from freehold.registry.diff.difference import CannotDiff, Difference, difference, run_all, schema_of
from freehold.registry.diff.rows import losses
from tests.integration.random_schemas import Made, changed, schema, value

SEED = int(os.environ.get("FUZZ_SEED", "12"))
ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "150"))
_LIMIT_S = 45.0 if ROUNDS <= 150 else 24 * 3600
_REFUSED = (
    "cannot become what is declared with its rows kept",
    "would lose the numbers by which",
    "is new and UNIQUE",
    "no value is known",
)


async def test_rows_survive_whatever_is_declared_or_their_loss_is_named() -> None:
    end = time.monotonic() + _LIMIT_S
    done = 0
    for number in range(ROUNDS):
        if time.monotonic() > end and number >= 20:
            break
        random = Random(f"{SEED}/{number}")
        before = schema(random)
        after = changed(random, before) if random.random() < 0.8 else schema(random)
        try:
            done += await _tried(random, before, after)
        except Exception as error:
            shown = ";\n".join([*before.statements, "-- to", *after.statements])
            raise AssertionError(f"FUZZ_SEED={SEED} round {number}:\n{shown}") from error
    assert done > 10


async def _tried(random: Random, before: Made, after: Made) -> bool:
    one, other = await schema_of(before.statements), await schema_of(after.statements)
    try:
        await difference(one, other)
    except CannotDiff as error:
        if any(reason in str(error) for reason in _REFUSED):
            return False
        raise
    told = "\n".join(losses(one, other))
    for name, table in one.tables.items():
        if name not in other.tables:
            assert table.name in told or table.keeps not in (Keeps.OWN, Keeps.NOTHING)
        elif table.keeps is Keeps.OWN:
            gone = [column.name for column in _data(table) if other.tables[name].column(column.name) is None]
            assert all(f"{table.name}.{column}" in told for column in gone)
    async with sqlite_scratch() as target:
        assert await run_all(target, before.statements, is_off=True) is None
        for sql in await _rows(random, one):
            refusal = await run_all(target, [sql], is_off=True)
            assert refusal is None, (sql, refusal)
        for sql in _settings(random, one):
            assert await run_all(target, [sql], is_off=True) is None
        one = await with_settings(target, one)
        found = await difference(one, other)
        await _sound(target, one, is_linked=True)
        was = {name: await _read(target, table) for name, table in one.tables.items()}
        hits = await _hits(target, one, other)
        is_released = random.random() < 0.3 and _is_linked(one, other)
        if is_released:
            await _by_migrations(target, before, other)
        else:
            refusal = await run_all(target, found.statements, is_off=found.foreign_keys_off)
            assert refusal is None, (refusal, found.statements)
        now = await read_schema(target)
        assert now.fingerprint == other.fingerprint
        for name, table in one.tables.items():
            if name in other.tables and Keeps.OWN is table.keeps is other.tables[name].keeps:
                _require_same(table, other.tables[name], was[name], await _read(target, other.tables[name]), found)
        assert await _hits(target, one, other) == hits
        await _sound(target, other, is_linked=_is_linked(one, other))
        # Of what was set in one database alone, migrations know nothing.
        assert is_released or _kept_settings(one, other) == _kept_settings(await with_settings(target, other), other)
        await _can_be_used(target, other)
    return True


async def _by_migrations(target: Target, before: Made, other: Schema) -> None:
    """What only adds first, and then the rest, as an author writes them; the first version is there already."""
    migrations = [Migration(version=1, name="begin", sql=";\n".join(before.statements))]
    async with sqlite_scratch() as empty:
        await apply(empty, migrations)
        ledger = await ask(empty, "SELECT sql FROM sqlite_schema WHERE name = 'freehold_ledger'")
        [[row]] = await ask(empty, "SELECT checksum, chain, previous_chain FROM freehold_ledger")
    made = str(ledger[0][0][0])
    values = ", ".join(f"'{value!s}'" for value in row)
    columns = "version, previous, name, checksum, chain, previous_chain, applied_at"
    first = f"INSERT INTO freehold_ledger ({columns}) VALUES (1, 0, 'begin', {values}, 'then')"
    assert await run_all(target, [made, first], is_off=True) is None
    for min_app in ("", "2.0"):
        drafted = await draft(migrations, other, "change", min_app=min_app)
        if drafted.migration is not None:
            migrations.append(drafted.migration)
        if not drafted.left:
            break
    await apply(target, migrations)


def _data(table: Table) -> list[Column]:
    return [column for column in table.columns if not column.is_generated]


async def _rows(random: Random, made: Schema) -> list[str]:
    """Inserts for all tables; some rows are deleted again, so that numbers have gaps."""
    statements = []
    tables = [table for table in made.tables.values() if table.keeps is Keeps.OWN]
    for table in sorted(tables, key=lambda table: bool(table.foreign_keys)):
        nulls: set[str] = set()
        count = random.randint(2, 6)
        for row in range(1, count + 1):
            pairs = {}
            for column in _data(table):
                keyed = column.name in ("id", "num")
                if table.virtual and table.virtual.is_tree and not keyed:
                    pairs[column.name] = f"{row}.25" if column.name[-1] in "01" else f"'t{row}'"
                elif keyed:
                    pairs[column.name] = str(row * 3)
                elif column.name == "parent":
                    pairs[column.name] = random.choice(["NULL", "'3'"])
                elif not column.not_null and column.name not in nulls and random.random() < 0.15:
                    nulls.add(column.name)
                    pairs[column.name] = "NULL"
                else:
                    pairs[column.name] = value(random, column.affinity, row)
            names = ", ".join(map(quoted, pairs))
            statements.append(f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({', '.join(pairs.values())})")
        if random.random() < 0.6 and count > 2:
            statements.append(f"DELETE FROM {quoted(table.name)} WHERE id = {random.randint(2, count) * 3}"
                              if table.column("id") else "SELECT 1")  # fmt: skip
    return statements


async def _read(target: Target, table: Table) -> dict[str, list[SqlValue]]:
    """By column, its values in the order of the rows' numbers; `#` are these."""
    names = [column.name for column in _data(table)]
    if table.keeps is not Keeps.OWN or not names:
        return {}
    number = table.number or table.rowid
    if table.virtual and table.virtual.is_tree:
        number = "id"
    shown = [quoted(number) if number == table.number else str(number)] if number else ["NULL"]
    shown += [f"quote({quoted(name)})" for name in names]
    order = shown[0] if number else ", ".join(shown)
    [rows] = await ask(target, f"SELECT {', '.join(shown)} FROM {quoted(table.name)} ORDER BY {order}")
    columns: Sequence[Sequence[SqlValue]] = list(zip(*rows, strict=True)) or [[]] * (len(names) + 1)
    return {name: list(values) for name, values in zip(["#", *names], columns, strict=True)}


def _require_same(
    was: Table, will: Table, before: dict[str, list[SqlValue]], after: dict[str, list[SqlValue]], found: Difference
) -> None:
    """Each value is what it was, as far as the column's type can hold it, and in the same row."""
    kept = [column for column in _data(will) if column.name in before]
    numbered = _number(was) and _number(will)
    renumbered = will.number and will.number in before and will.number != was.number
    if not renumbered and numbered:
        assert before["#"] == after["#"], (was.name, before, after, found.statements)
    if not kept and not numbered:
        return  # nothing is left of a row but that it was there, and each of its columns was named
    rows, others = [], []
    for at in range(len(before.get("#", []))):
        rows.append(tuple(_stored(before[column.name][at], was, column) for column in kept))
    for at in range(len(after.get("#", []))):
        others.append(tuple(repr(after[column.name][at]) for column in kept))
    if renumbered or not numbered:
        rows, others = sorted(rows), sorted(others)
    assert rows == others, (was.name, found.statements)


def _number(table: Table) -> bool:
    is_tree = table.virtual is not None and table.virtual.is_tree
    return bool(is_tree or table.number or table.rowid)


def _stored(shown: SqlValue, was: Table, column: Column) -> str:
    """What a column of that type makes of a value, by SQLite's own word."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE TABLE x (v {column.type})")
        old = was.column(column.name)
        if shown == "NULL" and column.not_null and old is not None and not old.not_null:
            default = column.default
            shown = " ".join(default) if default else {"text": "''", "blob": "x''"}.get(column.affinity, "0")
        db.execute(f"INSERT INTO x VALUES ({shown!s})")
        return repr(db.execute("SELECT quote(v) FROM x").fetchone()[0])


async def _hits(target: Target, one: Schema, other: Schema) -> dict[str, list[list[SqlValue]]]:
    """What is found in indexes that are the same in both schemas, over tables whose texts are too."""
    found = {}
    for name, table in other.tables.items():
        virtual = table.virtual
        if virtual is None or not virtual.is_text or name not in one.tables:
            continue
        if one.tables[name].shape != table.shape or table.keeps is not Keeps.NOTHING:
            continue
        for word in ("apples", "pear", "running"):
            [rows] = await ask(target, f"SELECT rowid FROM {quoted(table.name)} ('{word}') ORDER BY 1")
            found[f"{name} {word}"] = rows
    return found


def _settings(random: Random, made: Schema) -> Iterator[str]:
    for table in made.tables.values():
        if table.virtual and table.virtual.module == "fts5" and random.random() < 0.5:
            name = quoted(table.name)
            yield f"INSERT INTO {name} ({name}, rank) VALUES ('rank', 'bm25({random.randint(1, 9)}.0)')"


def _kept_settings(made: Schema, other: Schema) -> dict[str, object]:
    """Those of tables that are of the same module in both schemas."""
    return {
        name: settings
        for name, settings in made.settings.items()
        if (will := other.tables.get(name)) and will.virtual and will.virtual.module == "fts5"
    }


def _is_linked(one: Schema, other: Schema) -> bool:
    """Whether every row has its parent: nobody can find one in a table that was none before."""
    links = [key.parent for table in other.tables.values() for key in table.foreign_keys]
    return all(
        name in one.tables and not one.tables[name].is_virtual and one.tables[name].column("id") for name in links
    )


async def _sound(target: Target, made: Schema, *, is_linked: bool) -> None:
    assert await ask(target, "PRAGMA integrity_check") == [[["ok"]]]
    assert not is_linked or await ask(target, "PRAGMA foreign_key_check") == [[]]
    for table in made.tables.values():
        if table.virtual and table.virtual.module == "fts5" and table.keeps is not Keeps.NOTHING:
            name = quoted(table.name)
            refusal = await run_all(
                target, [f"INSERT INTO {name} ({name}, rank) VALUES ('integrity-check', 1)"], is_off=False
            )
            assert refusal is None, (table.name, refusal)


async def _can_be_used(target: Target, made: Schema) -> None:
    """Nothing is left that uses what is not there."""
    for view in made.views.values():
        await ask(target, f"SELECT * FROM {quoted(view.name)} LIMIT 0")
    for table in made.tables.values():
        if table.virtual is None:
            await ask(target, f"EXPLAIN DELETE FROM {quoted(table.name)}")
