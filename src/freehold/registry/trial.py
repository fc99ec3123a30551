"""Try migrations on several engines: from every earlier version, with rows in the database, and twice."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from freehold.errors import FreeholdError, Unavailable
from freehold.libsql.values import SqlValue
from freehold.migrate.apply import apply
from freehold.migrate.determinism import ONE, OTHER, Frozen, freeze
from freehold.migrate.fingerprint import SchemaUnreadable, ask
from freehold.migrate.integrity import Fit, fit_of, unsoundness
from freehold.migrate.ledger import ledger_rows
from freehold.migrate.names import folded, quoted
from freehold.migrate.rules import require_inside
from freehold.migrate.schema import Schema, Table, read_schema
from freehold.migrate.snapshot import Scratch
from freehold.migrate.split import MAX_SCRIPT_BYTES, split
from freehold.migrate.target import Target
from freehold.migrate.types import BadMigration, Migration, chains, normalise
from freehold.migrate.virtual import Keeps
from freehold.registry.diff.describe import differences
from freehold.registry.files import read_file
from freehold.registry.lint.findings import Waivers
from freehold.registry.lint.statement_rules import NON_DETERMINISTIC
from freehold.registry.lint.step import Step
from freehold.registry.release import release_of
from freehold.registry.trial_rows import FIXTURES, look_at_rows, write_fixtures
from freehold.registry.types import BadRegistry


class TrialFault(Struct, frozen=True):
    """What went wrong on one engine. `start` is the version at which the database began."""

    engine: str
    start: int
    reason: str

    def __str__(self) -> str:
        return f"{self.engine}, from version {self.start}: {self.reason}"


class Tried(Struct, frozen=True):
    """One run: a database on one engine that was migrated from `start` to the newest version.

    `changes` describes what the next version deliberately does to existing values. `uncovered` lists the tables that
    never had a row in any run and are therefore untested.
    """

    engine: str
    start: int
    rows: int
    faults: tuple[TrialFault, ...]
    changes: tuple[str, ...] = ()
    uncovered: tuple[str, ...] = ()


class _End(Struct, frozen=True):
    """The result of a run: the schema, and all rows by table."""

    schema: Schema
    rows: Mapping[str, list[str]]


async def load_fixtures(folder: Path) -> dict[int, tuple[str, ...]]:
    """Return the statements of each `fixtures/NNNN.sql`, which an app writes at version NNNN. Raises `BadRegistry`."""
    return await asyncio.to_thread(_load, folder / FIXTURES)


async def try_out(
    migrations: Sequence[Migration],
    fixtures: Mapping[int, Sequence[str]],
    engines: Mapping[str, Scratch],
    recorded: Mapping[int, str],
    *,
    since: int = 0,
    waivers: Waivers = Waivers({}),  # noqa: B008 - frozen
) -> AsyncIterator[Tried]:
    """Yield each run as it ends; all engines must agree with the first. `recorded` holds fingerprints by version.

    Versions that waive FH106 may write rows that depend on time or chance; those that waive FH116 to FH118 may do to
    rows what these rules forbid.

    Raises:
        BadRegistry: `fixtures` or `since` name a version that does not exist.
        Unavailable: an engine does not answer.
    """
    if lost := [version for version in fixtures if not 1 <= version <= len(migrations)]:
        raise BadRegistry([f"{FIXTURES}/{version:04}.sql: there is no version {version}" for version in lost])
    if since > len(migrations):  # an empty trial must not count as passed
        raise BadRegistry([f"there is no version {since} to start from; the newest is {len(migrations)}"])
    chancy = {one.version for one in migrations if waivers.is_waived(one.version, "FH106")}
    plan = _Plan(migrations, fixtures, recorded, chancy, waivers)
    seen = await look_at_rows(migrations, fixtures, waivers)
    for start in range(since, len(migrations) + 1):
        first: tuple[str, _End] | None = None
        for engine, scratch in engines.items():
            faults: list[str] = []
            end = None
            try:
                async with scratch() as target:
                    end = await _history(target, plan, start, faults)
                if first is None:  # these depend on the SQL only, not on the engine
                    faults += await _chances(plan, start, scratch)
                    faults += seen.faults.get(start + 1, ())
            except Unavailable:
                raise
            except FreeholdError as error:
                faults.append(str(error))
            if end is not None:
                faults += _differences(end, first[1], first[0]) if first else []
                first = first or (engine, end)
            rows = sum(map(len, end.rows.values())) if end else 0
            yield Tried(
                engine,
                start,
                rows,
                tuple(TrialFault(engine, start, each) for each in faults),
                seen.changes.get(start + 1, ()),
                seen.empty,
            )


class _Plan(Struct, frozen=True):
    migrations: Sequence[Migration]
    fixtures: Mapping[int, Sequence[str]]
    recorded: Mapping[int, str]
    chancy: Set[int]
    waivers: Waivers


async def _history(target: Target, plan: _Plan, start: int, faults: list[str]) -> _End:
    migrations, recorded = plan.migrations, plan.recorded
    await _grow(target, plan, migrations, start)
    before = await _end(target)
    fit = await fit_of(target, before.schema)
    # An empty database is migrated version by version; any other in one go, like a tenant that lags behind.
    for version in range(1, len(migrations) + 1) if start == 0 else [len(migrations)]:
        await apply(target, migrations, to=version)
        schema = await read_schema(target)
        if (wanted := recorded.get(version)) is not None and not schema.is_recorded_as(wanted):
            faults.append(f"version {version} comes out with another schema than registry.sum records")
    again = await apply(target, migrations)
    rows = await ledger_rows(target)
    if again.applied or [row.chain for row in rows] != chains(migrations):
        faults.append("applying once more was not the same as doing nothing")
    after = await _end(target)
    if any(plan.waivers.is_waived(one.version, "FH118") for one in migrations[start:]):
        fit = Fit(unfit=frozenset(after.schema.tables))
    faults += await unsoundness(target, after.schema, fit)
    if not any(release_of(one).is_contract for one in migrations[start:]):
        faults += _lost_rows(before, after)
    return after


async def _grow(target: Target, plan: _Plan, migrations: Sequence[Migration], start: int) -> None:
    """Migrate to `start`, loading the fixtures of each version on the way."""
    for version in range(1, start + 1):
        if version in plan.fixtures or version == start:
            await apply(target, migrations, to=version)
            await write_fixtures(target, version, plan.fixtures.get(version, ()))


async def _chances(plan: _Plan, start: int, scratch: Scratch) -> list[str]:
    """Return what would differ at another time, in fixtures of this version and in later migrations."""
    faults = []
    if plan.fixtures.get(start):
        async with scratch() as target:
            await apply(target, plan.migrations, to=start)
            faults = _chancy_fixtures(plan, start, await read_schema(target))
    after = [one for one in plan.migrations[start:] if one.version not in plan.chancy]
    if freeze(after, ONE) is None:
        return faults
    ends = []
    for moment in (ONE, OTHER):
        migrations = _frozen(plan, start, moment)
        async with scratch() as target:
            await _grow(target, plan, migrations, start)
            await apply(target, migrations)
            ends.append(await _end(target))
    return faults + [
        f"table {name} gets other rows each time: a migration depends on the time or on chance"
        for name, rows in ends[0].rows.items()
        if ends[-1].rows.get(name) != rows
    ]


def _frozen(plan: _Plan, start: int, moment: Frozen) -> list[Migration]:
    """Return the migrations with time and randomness fixed: after `start` to `moment`, before it always to the same."""
    return [
        (freeze([one], moment if one.version > start and one.version not in plan.chancy else ONE) or [one])[0]
        for one in plan.migrations
    ]


def _chancy_fixtures(plan: _Plan, version: int, schema: Schema) -> list[str]:
    rows = Migration(version=max(version, 1), name="rows", sql=";\n".join(plan.fixtures.get(version, ())))
    return [
        f"{FIXTURES}/{version:04}.sql: statement {problem.statement}: {problem.message}; give it a value"
        for problem in NON_DETERMINISTIC.check(Step(rows, schema, schema, ()))
    ]


async def _end(target: Target) -> _End:
    schema = await read_schema(target)
    tables = [table for table in schema.tables.values() if not table.is_virtual]
    found = await ask(target, *map(_rows_sql, tables)) if tables else []
    rows = {folded(table.name): sorted(map(_shown, rows)) for table, rows in zip(tables, found, strict=True)}
    for name, table in schema.tables.items():
        if table.is_virtual and table.keeps in {Keeps.OWN, Keeps.NOTHING}:
            with suppress(SchemaUnreadable):  # a module that cannot show rows
                rows[name] = sorted(map(_shown, *await ask(target, _rows_sql(table))))
    return _End(schema, rows)


def _rows_sql(table: Table) -> str:
    """Return a query for all rows, including the rowid for virtual tables, whose rows are found by it."""
    columns = [
        column.name
        for column in sorted(table.columns, key=lambda column: column.name)
        if not (table.is_virtual and column.is_generated)
    ]
    names = [*(["rowid"] if table.is_virtual else []), *map(quoted, columns)]
    return f"SELECT {', '.join(f'typeof({name}), {name}' for name in names)} FROM {quoted(table.name)}"


def _shown(row: Sequence[SqlValue]) -> str:
    return repr(tuple(row))


def _lost_rows(before: _End, after: _End) -> list[str]:
    return [
        f"table {name} had {len(rows)} row(s) and has {len(after.rows[name])}; a migration that deletes rows "
        "says `-- phase: contract`"
        for name, rows in before.rows.items()
        if name in after.rows and len(after.rows[name]) < len(rows)
    ]


def _differences(end: _End, other: _End, engine: str) -> list[str]:
    faults = []
    if end.schema.fingerprint != other.schema.fingerprint:
        odd_parts = "; ".join(differences(end.schema, other.schema)[:5])
        faults.append(f"its schema is another than on {engine}: {odd_parts}")
    for name, rows in other.rows.items():
        mine = end.rows.get(name, [])
        if mine != rows:
            odd = next(iter([row for row in mine if row not in rows] or [row for row in rows if row not in mine]), "")
            faults.append(f"table {name} has other rows than on {engine}, e.g. {odd[:200]}")
    return faults


def _load(folder: Path) -> dict[int, tuple[str, ...]]:
    found = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.suffix != ".sql" or not (path.stem.isdigit() and len(path.stem) == 4):
            raise BadRegistry([f"{FIXTURES}/{path.name}: expected NNNN.sql, e.g. 0003.sql for version 3"])
        try:
            pieces = split(normalise(read_file(path, MAX_SCRIPT_BYTES).decode()))
            require_inside(pieces)
        except (OSError, UnicodeDecodeError) as error:
            raise BadRegistry([f"{FIXTURES}/{path.name}: cannot be read as UTF-8"]) from error
        except BadMigration as error:
            raise BadRegistry([f"{FIXTURES}/{path.name}: {fault}" for fault in error.faults]) from error
        found[int(path.stem)] = tuple(piece.sql for piece in pieces)
    return found
