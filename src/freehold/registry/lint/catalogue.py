"""Every rule, including those about rows and releases. A test compares them with docs/lint.md."""

from collections.abc import Iterator

from freehold.registry.lint.engine_rules import ENGINE_RULES
from freehold.registry.lint.findings import Problem, Rule
from freehold.registry.lint.schema_rules import SCHEMA_RULES
from freehold.registry.lint.state_rules import STATE_RULES
from freehold.registry.lint.statement_rules import STATEMENT_RULES
from freehold.registry.lint.step import Step
from freehold.registry.release import release_of

# Rules about rows: what a migration loses under an unchanged name, found by running it on generated rows.


def _place(step: Step, table: str) -> int:
    """Return the statement at which the table probably loses its rows."""
    return step.number_of("drop", "table", table) or step.number_of("alter", "table", table) or step.number_of(table)


ROWS_LOST = Rule(
    code="FH116",
    slug="rows-lost",
    why="A table keeps its name and silently loses rows or values: it is dropped and created again, or rebuilt by a "
    "copy that leaves out rows (WHERE, LIMIT, JOIN, DISTINCT, INSERT OR IGNORE) or a column, or mixes up columns; or "
    "REPLACE removes other columns and children, or a trigger of the migration deletes. Found by running the migration "
    "on generated rows.",
    fix="Copy every row and every column that stays: `INSERT INTO t_new (a, b) SELECT a, b FROM t`. `freehold registry "
    "diff` writes such a rebuild. Instead of REPLACE, write `INSERT … ON CONFLICT (id) DO UPDATE SET a = excluded.a`. "
    "If rows are meant to go, delete them before the rebuild with a statement that selects them; or waive the rule and "
    "say which rows go and why.",
    only_new=True,
    check=lambda step: (Problem(one.reason, _place(step, one.table)) for one in step.observed.losses),
)

RENUMBERED = Rule(
    code="FH117",
    slug="renumbered-rows",
    why="A rebuild changes the rowids, and a full-text table, a trigger or a view refers to rows by the old ones: a "
    "search then finds other rows, or none.",
    fix="Copy the rowid too: `INSERT INTO t_new (rowid, a) SELECT rowid, a FROM t`. Or rebuild a full-text index "
    "afterwards: `INSERT INTO f (f) VALUES ('rebuild')`.",
    only_new=True,
    check=lambda step: (Problem(one.reason, _place(step, one.table)) for one in step.observed.renumbered),
)


def _stale(step: Step) -> Iterator[Problem]:
    for one in step.observed.stale:
        at = step.number_of("create", "virtual", one.table) or step.number_of("drop", "table")
        yield Problem(one.reason, at)


STALE_INDEX = Rule(
    code="FH118",
    slug="stale-search-index",
    why="After the migration, FTS5's own integrity-check fails: a full-text table was created over another table "
    "without indexing the existing rows, or the rows changed without the index. A search finds nothing, or rows that "
    "are not there.",
    fix="End with `INSERT INTO f (f) VALUES ('rebuild')`. Waive it for an index that deliberately holds only part of "
    "the rows.",
    only_new=True,
    check=_stale,
)

ROW_RULES = (ROWS_LOST, RENUMBERED, STALE_INDEX)


# Rules about the order of releases: phases and waivers.

FRONT_MATTER = Rule(
    code="FH111",
    slug="release-lines",
    why="A line at the top that says how the migration is released (`-- phase:`, `-- min_app:`, `-- allow:`) is "
    "invalid, so it would protect no one.",
    fix="`-- phase: expand` or `contract`; `-- min_app: 2.1.0`, needed for `contract`; `-- allow: FH107 and why`.",
    check=lambda step: map(Problem, step.release.faults),
)


def _too_early(step: Step) -> Iterator[Problem]:
    if not step.release.is_contract:
        return
    expands = [one for one in step.earlier if not release_of(one).is_contract]
    if not expands:
        yield Problem("nothing was expanded before it that it could complete")
    elif step.batch and all(one.version in step.batch for one in expands[-1:]):
        yield Problem(f"it is released together with version {expands[-1].version}, before that is everywhere")


CONTRACT_TOO_EARLY = Rule(
    code="FH112",
    slug="contract-too-early",
    why="A contract migration removes what older apps use. It is safe only when the expand before it is in every "
    "database and the apps that use the new form are in the field. Releasing both at once leaves no time for either. "
    "(`registry publish` checks the census of live apps again.)",
    fix="Release the expand first; add the contract when `freehold registry status` shows no app below `min_app`.",
    check=_too_early,
)

RELEASE_RULES = (FRONT_MATTER, CONTRACT_TOO_EARLY)

WAIVER = Rule(
    code="FH113",
    slug="waiver",
    severity="warning",
    why="A waiver names a rule that does not exist, or that found nothing here: it would hide the next real finding.",
    fix="Remove it.",
)


# Found by the migration core: every applier refuses these, so they cannot be waived.
CORE_RULES = (
    Rule(
        code="FH001",
        slug="unreadable",
        why="The file cannot be split into statements, or its name or front matter is invalid.",
        fix="Close the string, comment or trigger that the message names; correct the line at the top.",
    ),
    Rule(
        code="FH002",
        slug="empty",
        why="A version without a statement would be served forever and do nothing.",
        fix="Write a statement, or leave the file out.",
    ),
    Rule(
        code="FH003",
        slug="transaction-control",
        why="A migration runs in one transaction together with its ledger row. BEGIN, COMMIT, ROLLBACK and "
        "SAVEPOINT would tear the two apart.",
        fix="Leave them out.",
    ),
    Rule(
        code="FH004",
        slug="outside-the-database",
        why="ATTACH, DETACH, VACUUM, ANALYZE and temporary objects act outside the transaction or the database, and "
        "not every engine accepts them from a client.",
        fix="Leave them out; use an ordinary table and drop it again.",
    ),
    Rule(
        code="FH005",
        slug="pragma",
        why="PRAGMA foreign_keys has no effect inside a transaction, which is where a migration runs, so a rebuild "
        "would still delete children. Other PRAGMAs act differently from one engine to the next.",
        fix="Start the file with the line `-- foreign_keys: off`; leave other PRAGMAs out.",
    ),
    Rule(
        code="FH006",
        slug="parameter",
        why="Parameters have no values when a migration is applied.",
        fix="Write the value.",
    ),
    Rule(
        code="FH007",
        slug="reserved-name",
        why="Names that start with `freehold_` are reserved for Freehold; the ledger has one of them.",
        fix="Use another name.",
    ),
    Rule(
        code="FH008",
        slug="cascade",
        why="Dropping a table while foreign keys are on deletes the rows that reference it, or fails. A rebuild would "
        "delete the table's children on SQLite and libSQL; Turso's engine would keep them.",
        fix="Start the file with the line `-- foreign_keys: off`. Before the commit, the applier checks that every row "
        "still has its parent.",
    ),
    Rule(
        code="FH009",
        slug="renamed-away",
        why="Renaming the old table makes other tables reference it under its new name, and dropping it then removes "
        "their parent.",
        fix="Create the new table under another name, copy the rows, drop the old table, then rename the new one.",
    ),
    Rule(
        code="FH010",
        slug="refused",
        why="SQLite refuses the migration on a fresh database that has all earlier ones.",
        fix="Correct what the message says; every new tenant would fail there. Each cause has its own advice.",
    ),
)

# Found by reading the folder and its registry.sum. They cannot be waived either.
FILE_RULES = (
    Rule(
        code="FH020",
        slug="file",
        why="A file's name is not NNNN_snake_case_name.sql, or the file is not UTF-8, starts with a byte order mark, "
        "is too large, or cannot be read.",
        fix="Rename, re-save or divide it, as the advice for the cause says. `freehold registry new NAME` creates "
        "correct files.",
    ),
    Rule(
        code="FH021",
        slug="missing-version",
        why="Versions are 1, 2, 3 without gaps; every database has to go through all of them.",
        fix="Restore the file, or give the later ones the next free numbers if they are not published.",
    ),
    Rule(
        code="FH022",
        slug="duplicate-version",
        why="Two files have the same number, usually because two branches took it at the same time.",
        fix="Give the one that is not published the next free number, and run `freehold registry seal`.",
    ),
    Rule(
        code="FH023",
        slug="edited",
        why="The file's bytes differ from what registry.sum says. A published migration never changes: databases that "
        "already have it would differ forever from those that get it now.",
        fix="Restore the file and put the change in a new migration. If it is not published yet, "
        "`freehold registry seal --again N`.",
    ),
    Rule(
        code="FH024",
        slug="unsealed",
        severity="warning",
        why="registry.sum has no line for the file. That line makes two branches with the same number conflict in git, "
        "and reveals a later edit.",
        fix="`freehold registry seal`, and commit registry.sum with the migration.",
    ),
    Rule(
        code="FH025",
        slug="vanished",
        why="registry.sum has a line for a version whose file is gone or has another name.",
        fix="Restore the file. If it was never published, remove its line from registry.sum.",
    ),
)

CHECKS = (*SCHEMA_RULES, *STATEMENT_RULES, *ENGINE_RULES, *ROW_RULES, *STATE_RULES, *RELEASE_RULES)
RULES = {rule.code: rule for rule in (*CORE_RULES, *FILE_RULES, *CHECKS, WAIVER)}
WAIVABLE = frozenset(rule.code for rule in CHECKS if rule.code != "FH111")
