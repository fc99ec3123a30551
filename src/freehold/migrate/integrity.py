"""Whether a database is intact, according to those of its engine's own checks that are reliable."""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.migrate.canonical import unwrapped
from freehold.migrate.fingerprint import ask
from freehold.migrate.names import folded, quoted
from freehold.migrate.schema import Schema, Table, orphan_queries
from freehold.migrate.target import Target
from freehold.migrate.virtual import READABLE, Keeps, check_sql, rebuild_sql

# Whether full-text indexes match their content: the engine's own check, which PRAGMA integrity_check leaves out.
#
# Source: https://www.sqlite.org/fts5.html, section 6.4, and https://www.sqlite.org/fts3.html, section 7.


class Fit(Struct, frozen=True):
    """The names, in lower case, of indexes that match their content, and of those that do not."""

    fit: frozenset[str] = frozenset()
    unfit: frozenset[str] = frozenset()


async def fit_of(target: Target, schema: Schema) -> Fit:
    """Compare each full-text index with its content table. Reads all of both. Raises `Unavailable`."""
    names = frozenset(folded(table.name) for table in _indexes(schema))
    unfit = await _misfits(target, schema, names)
    return Fit(names - unfit, unfit)


async def unfit_indexes(target: Target, schema: Schema, before: Fit = Fit()) -> list[Table]:  # noqa: B008 - frozen
    """Each index that is damaged, or does not match its content although it should.

    It should if it did `before`, or if triggers keep it in step for every row. An index that the app fills itself
    may lag behind, and one that triggers fill from some rows holds only these. One that was unfit before is omitted.

    Raises:
        Unavailable: no answer, or busy.
    """
    known = [table for table in _indexes(schema) if folded(table.name) not in before.unfit]
    compared = frozenset(
        folded(table.name) for table in known if folded(table.name) in before.fit or _is_in_step(schema, table)
    )
    unfit = await _misfits(target, schema, compared)
    return [table for table in known if folded(table.name) in unfit]


def fault_of(table: Table) -> str:
    """What is wrong with an index from `unfit_indexes`, as a sentence."""
    return f"the full-text index {table.name} is damaged, or does not fit what it indexes: integrity-check fails"


def mending_of(table: Table) -> str:
    """The statement that rebuilds such an index; empty if nothing can."""
    return rebuild_sql(table.name) if table.keeps in READABLE else ""


async def _misfits(target: Target, schema: Schema, compared: frozenset[str]) -> frozenset[str]:
    tables = [table for table in _indexes(schema) if folded(table.name) in compared or _checks_itself(table)]
    if not tables:
        return frozenset()
    texts = (_check_sql(table, is_compared=folded(table.name) in compared) for table in tables)
    [answer] = await target.run([Batch(tuple(BatchStep(Stmt(sql=sql, want_rows=False)) for sql in texts))])
    return frozenset(
        folded(table.name)
        for table, error in zip(tables, answer.step_errors, strict=False)
        # Other errors, e.g. of a read-only database, are not about the index.
        if error and ("malformed" in error.message or (error.code or "").startswith("SQLITE_CORRUPT"))
    )


def _indexes(schema: Schema) -> Iterator[Table]:
    for table in schema.tables.values():
        virtual = table.virtual
        # The older modules cannot check a table that keeps no content.
        if virtual is not None and virtual.is_text and (virtual.is_fts5 or virtual.keeps in READABLE):
            yield table


def _checks_itself(table: Table) -> bool:
    """Whether it has a check that does not read another table."""
    return table.virtual is not None and (table.virtual.is_fts5 or table.virtual.keeps is Keeps.OWN)


def _check_sql(table: Table, *, is_compared: bool) -> str:
    if table.virtual is not None and not table.virtual.is_fts5:
        return f"INSERT INTO {quoted(table.name)} ({quoted(table.name)}) VALUES ('integrity-check')"
    return check_sql(table.name, is_compared=is_compared)


def _is_in_step(schema: Schema, table: Table) -> bool:
    """Whether triggers update the index for every row that is inserted, changed or deleted."""
    events: set[str] = set()
    for trigger in schema.triggers.values():
        words = [unwrapped(word) for word in trigger.shape]
        body = words.index("begin") if "begin" in words else 0
        if folded(table.name) in words[body:]:
            if "when" in words[:body]:
                return False
            events.update(trigger.moment[2:])
    return events >= {"insert", "update", "delete"}


# Newer engines also check full-text indexes there, and complain about one that the app fills when it likes.
OF_INDEX = re.compile(r"(malformed|unable to validate the) inverted index for FTS\d table ", re.IGNORECASE)


async def unsoundness(target: Target, schema: Schema, before: Fit = Fit()) -> list[str]:  # noqa: B008 - frozen
    """What is wrong with the database, as sentences; empty if nothing is. It reads everything.

    `before` says which full-text indexes matched their content at an earlier time.

    Raises:
        SchemaUnreadable: the database refuses a query.
        Unavailable: no answer, or busy.
    """
    # Orphans are counted in both ways: Turso's engine never returns rows for the second PRAGMA.
    integrity, orphans, *counts = await ask(
        target, "PRAGMA integrity_check", "PRAGMA foreign_key_check", *orphan_queries(schema)
    )
    found = []
    complaints = [str(row[0]) for row in integrity if row != ["ok"] and not OF_INDEX.match(str(row[0]))]
    if complaints and (real := await _without_false_nulls(target, schema, complaints)):
        found.append(f"integrity_check says: {'; '.join(real[:3])}")
    missing = len(orphans) or sum(int(str(rows[0][0])) for rows in counts)
    if missing:
        found.append(f"foreign_key_check finds {missing} row(s) without their parent")
    return [*found, *map(fault_of, await unfit_indexes(target, schema, before))]


async def _without_false_nulls(target: Target, schema: Schema, complaints: Sequence[str]) -> list[str]:
    """The true complaints: SQLite 3.45, in libSQL and sqld, reports NULL in a REAL column added with a default."""
    queries = {
        f"null value in {table.name}.{column.name}".lower(): (
            f"SELECT 1 FROM {quoted(table.name)} WHERE {quoted(column.name)} IS NULL LIMIT 1"
        )
        for table in schema.tables.values()
        for column in table.columns
    }
    found = []
    for complaint in dict.fromkeys(complaints):
        query = queries.get(complaint.lower())
        if query is None or any(await ask(target, query)):
            found.append(complaint)
    return found
