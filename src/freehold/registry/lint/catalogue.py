"""Every rule there is. docs/lint.md has the same, and a test compares."""

from freehold.registry.lint.engine_rules import ENGINE_RULES
from freehold.registry.lint.findings import Rule
from freehold.registry.lint.release_rules import RELEASE_RULES, WAIVER
from freehold.registry.lint.row_rules import ROW_RULES
from freehold.registry.lint.schema_rules import SCHEMA_RULES
from freehold.registry.lint.state_rules import STATE_RULES
from freehold.registry.lint.statement_rules import STATEMENT_RULES

# Found by the migration core: every applier refuses these, whatever lint is told. They cannot be waived.
CORE_RULES = (
    Rule(
        code="FH001",
        slug="unreadable",
        why="The file cannot be cut into statements, or its name or front matter makes no sense.",
        fix="Close the string, comment or trigger that the message names; correct the line at the top.",
    ),
    Rule(
        code="FH002",
        slug="empty",
        why="A version without a statement would be served for ever and do nothing.",
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
        why="ATTACH, DETACH, VACUUM, ANALYZE and temporary objects act outside the transaction or the database, "
        "and not every engine takes them from a client.",
        fix="Leave them out; use an ordinary table and drop it again.",
    ),
    Rule(
        code="FH005",
        slug="pragma",
        why="PRAGMA foreign_keys does nothing inside a transaction, which is where a migration runs: children "
        "would be deleted by a rebuild after all. Other PRAGMAs act differently from one engine to the next.",
        fix="Start the file with the line `-- foreign_keys: off`; leave others out.",
    ),
    Rule(
        code="FH006",
        slug="parameter",
        why="Nothing is bound to a parameter when a migration is applied.",
        fix="Write the value.",
    ),
    Rule(
        code="FH007",
        slug="reserved-name",
        why="Names that start with `freehold_` are Freehold's own: the ledger is one of them.",
        fix="Use another name.",
    ),
    Rule(
        code="FH008",
        slug="cascade",
        why="Dropping a table with foreign keys on deletes the rows that reference it, or fails. A rebuild would "
        "so wipe the children of the table, on SQLite and libSQL; Turso's engine would keep them.",
        fix="Start the file with the line `-- foreign_keys: off`. Before the commit it is checked that no row is "
        "left without its parent.",
    ),
    Rule(
        code="FH009",
        slug="renamed-away",
        why="Renaming the old table away makes other tables reference it under its new name, and dropping it then "
        "takes their parent.",
        fix="Create the new table under another name, copy the rows, drop the old table, then rename the new one.",
    ),
    Rule(
        code="FH010",
        slug="refused",
        why="SQLite refuses the migration on a fresh database that has all earlier ones.",
        fix="Correct what the message says; new tenants would all fail there. Each cause comes with its own advice.",
    ),
)

# Found by reading the folder and its registry.sum. They cannot be waived either.
FILE_RULES = (
    Rule(
        code="FH020",
        slug="file",
        why="A file has another name than NNNN_snake_case_name.sql, is no UTF-8, starts with a byte order mark, is "
        "too large, or cannot be read.",
        fix="Rename, save or divide it, as the advice for the cause says. `freehold registry new NAME` makes correct "
        "files.",
    ),
    Rule(
        code="FH021",
        slug="missing-version",
        why="Versions go 1, 2, 3 without gaps; every database has to go through all of them.",
        fix="Restore the file, or give the later ones the next free numbers if they are not published.",
    ),
    Rule(
        code="FH022",
        slug="duplicate-version",
        why="Two files have the same number: two branches took it at the same time.",
        fix="Give the one that is not published the next free number, and run `freehold registry seal`.",
    ),
    Rule(
        code="FH023",
        slug="edited",
        why="A file has other bytes than registry.sum says. A published migration never changes: databases that "
        "have it would differ for ever from those that get it now.",
        fix="Restore the file and put the change in a new migration. If it is not published yet, "
        "`freehold registry seal --again N`.",
    ),
    Rule(
        code="FH024",
        slug="unsealed",
        severity="warning",
        why="registry.sum has no line for the file. That line is what makes two branches with the same number "
        "conflict in git, and what notices an edit later.",
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
