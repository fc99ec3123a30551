"""Rules about rows: what a migration loses under an unchanged name, found by running it on generated rows."""

from collections.abc import Iterator

from freehold.registry.lint.findings import Problem, Rule
from freehold.registry.lint.step import Step


def _lost(step: Step) -> Iterator[Problem]:
    for loss in step.observed.losses:
        yield Problem(loss.reason, _place(step, loss.table))


def _place(step: Step, table: str) -> int:
    """The statement at which the table's rows go, as far as can be told."""
    return (
        step.number_of("drop", "table", table)
        or step.number_of("alter", "table", table)
        or step.number_of(table)
    )


ROWS_LOST = Rule(
    code="FH116",
    slug="rows-lost",
    why="A table keeps its name and loses rows or values without saying so: it is dropped and made again, or "
    "rebuilt by a copy that leaves out rows (WHERE, LIMIT, JOIN, DISTINCT, INSERT OR IGNORE) or a column, or mixes "
    "columns up; or REPLACE takes other columns and children along, or a trigger of the migration deletes. Found by "
    "running the migration on generated rows.",
    fix="Copy every row and every column that stays: `INSERT INTO t_new (a, b) SELECT a, b FROM t`. "
    "`freehold registry diff` writes such a rebuild. Instead of REPLACE, write `INSERT … ON CONFLICT (id) DO UPDATE "
    "SET a = excluded.a`. Before the rebuild, delete the rows that are meant to go, by a "
    "statement that names them; or waive the rule and say which rows go and why.",
    only_new=True,
    check=_lost,
)


def _renumbered(step: Step) -> Iterator[Problem]:
    for one in step.observed.renumbered:
        yield Problem(one.reason, _place(step, one.table))


RENUMBERED = Rule(
    code="FH117",
    slug="renumbered-rows",
    why="A rebuild gives the rows other numbers (rowid) than they had, and a full-text table, a trigger or a view "
    "knows them by the old ones: a search then finds other rows, or none.",
    fix="Copy the number too: `INSERT INTO t_new (rowid, a) SELECT rowid, a FROM t`. Or make a full-text index "
    "again after the rebuild: `INSERT INTO f (f) VALUES ('rebuild')`.",
    only_new=True,
    check=_renumbered,
)


def _stale(step: Step) -> Iterator[Problem]:
    for one in step.observed.stale:
        at = step.number_of("create", "virtual", one.table) or step.number_of("drop", "table")
        yield Problem(one.reason, at)


STALE_INDEX = Rule(
    code="FH118",
    slug="stale-search-index",
    why="After the migration, FTS5's own integrity-check fails: a full-text table over another one was made without "
    "the rows that are there, or the rows were changed behind its back. It finds nothing, or what is not there.",
    fix="End with `INSERT INTO f (f) VALUES ('rebuild')`. Waive it for an index that holds only part of the rows on "
    "purpose.",
    only_new=True,
    check=_stale,
)

ROW_RULES = (ROWS_LOST, RENUMBERED, STALE_INDEX)
