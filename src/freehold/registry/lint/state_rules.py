"""Rules about the schema, reported at the version that introduces a fault if the newest version still has it."""

from collections.abc import Iterator, Set

from freehold.errors import FreeholdError
from freehold.migrate.schema import ForeignKey, Schema
from freehold.migrate.split import Statement, split, tokens
from freehold.registry.lint.findings import Problem, Rule
from freehold.registry.lint.statement_rules import chance_by_default, depends_on_chance
from freehold.registry.lint.step import Parsed, Step
from freehold.sql.tokens import Kind


def _lasting(here: Set[str], before: Set[str], head: Set[str]) -> list[str]:
    """Return what is new here and still there at the newest version; a later version may fix a fault."""
    return sorted((here - before) & head)


def _place(step: Step, *words: str) -> int:
    return step.number_of(*words) or step.number_of(f"{words[0]}_new", *words[1:]) or step.number_of(words[0])


def _broken(step: Step) -> Iterator[Problem]:
    keys = step.walked.keys.broken
    new = keys.keys() - step.keys_before.broken.keys()
    for name, key in sorted(new & step.keys_at_head.broken.keys()):
        at = _place(step, name, "references") or step.number_of(key.parent)
        yield Problem(f"{_shown(step.after, name, key)}: {keys[name, key]}", at)


def _shown(schema: Schema, name: str, key: ForeignKey) -> str:
    return f"{schema.tables[name].name} ({', '.join(key.columns)}) references {key.parent}"


BROKEN_KEY = Rule(
    code="FH119",
    slug="broken-foreign-key",
    why="A foreign key refers to a table or column that does not exist, or to columns that are neither a primary key "
    "nor UNIQUE. SQLite creates the table anyway. With foreign keys on, as in tenants' databases, every INSERT into it "
    "then fails.",
    fix="Correct the name, or create what it refers to: a table with a PRIMARY KEY or UNIQUE over exactly these "
    "columns. If the file is published, fix it in a later migration.",
    check=_broken,
)


def _unindexed(step: Step) -> Iterator[Problem]:
    keys = step.walked.keys
    new = keys.unindexed - step.keys_before.unindexed - keys.broken.keys()
    for name, key in sorted(new & step.keys_at_head.unindexed):
        yield Problem(f"{_shown(step.after, name, key)} without an index", _place(step, name, "references"))


UNINDEXED_KEY = Rule(
    code="FH120",
    slug="foreign-key-without-index",
    severity="warning",
    only_new=True,
    why="Whenever a parent row is deleted or its key changes, SQLite looks for rows that refer to it. Without an index "
    "it reads the whole child table, once for each parent row.",
    fix="`CREATE INDEX child_parent ON child (parent_id)`, preferably in the migration that creates the table. Waive "
    "it for a table that stays small, or whose parents are never deleted.",
    check=_unindexed,
)


NOT_MADE = Rule(
    code="FH121",
    slug="exists-otherwise",
    only_new=True,
    why="CREATE … IF NOT EXISTS finds something different under the name and leaves it unchanged. The databases then "
    "differ from the file, without an error.",
    fix="Leave out IF NOT EXISTS: versions are applied in order, so what exists is known. Change it with ALTER TABLE "
    "or a rebuild; `freehold registry diff` writes it.",
    check=lambda step: (Problem(reason, number) for number, reason in step.walked.unmade.items()),
)


def _without_key(step: Step) -> Iterator[Problem]:
    for name in _lasting(_keyless(step.after), _keyless(step.before), _keyless(step.head)):
        yield Problem(f"{step.after.tables[name].name} has no primary key", _place(step, name))


def _keyless(schema: Schema) -> Set[str]:
    return {name for name, table in schema.tables.items() if not table.is_virtual and not table.primary_key}


NO_PRIMARY_KEY = Rule(
    code="FH122",
    slug="no-primary-key",
    severity="warning",
    only_new=True,
    why="Rows of a table without a primary key can only be identified by a rowid that a rebuild or VACUUM may change. "
    "Sync cannot say which row was changed, so the same row appears twice.",
    fix="Give it a PRIMARY KEY.",
    check=_without_key,
)


def _clocks(step: Step) -> Iterator[Problem]:
    for name, trigger in step.after.triggers.items():
        was, last = step.before.triggers.get(name), step.head.triggers.get(name)
        if (was is not None and was.shape == trigger.shape) or last is None or last.shape != trigger.shape:
            continue
        if depends_on_chance(trigger.sql):
            reason = f"what the trigger {trigger.name} does depends on the time or on chance"
        elif column := next(
            filter(None, (chance_by_default(step, Parsed(1, one)) for one in _body(trigger.sql))), None
        ):
            reason = f"the trigger {trigger.name} leaves {column} to a default that depends on the time or on chance"
        else:
            continue
        yield Problem(reason, _place(step, "trigger", name))


def _body(sql: str) -> list[Statement]:
    """Return the statements between BEGIN and END."""
    found = list(tokens(sql))
    begins = [end for kind, start, end in found if kind is Kind.WORD and sql[start:end].upper() == "BEGIN"]
    ends = [start for kind, start, end in found if kind is Kind.WORD and sql[start:end].upper() == "END"]
    try:
        return split(sql[begins[0] : ends[-1]]) if begins and ends else []
    except FreeholdError:
        return []


CLOCK_IN_TRIGGER = Rule(
    code="FH123",
    slug="clock-in-trigger",
    severity="warning",
    only_new=True,
    why="A trigger uses the clock (CURRENT_TIMESTAMP, datetime('now'), unixepoch()) or chance (random()). It runs on "
    "the device and again where the change is replayed, so the two copies of the row differ forever.",
    fix="Let the app write the value with the row. Waive it if clients of this database never sync and only write to "
    "the server.",
    check=_clocks,
)


def _checks(step: Step) -> Iterator[Problem]:
    # The first CHECK already stops browsers from opening the database; further ones change nothing.
    names = _lasting(_checked(step.after), _checked(step.before), _checked(step.head))
    if names and not _checked(step.before):
        shown = step.after.tables[names[0]].name
        yield Problem(f"{shown} has a CHECK, the first in the schema", _place(step, names[0], "check"))


def _checked(schema: Schema) -> Set[str]:
    return {name for name, table in schema.tables.items() if table.checks}


CHECK_IN_BROWSER = Rule(
    code="FH126",
    slug="check-in-browser",
    severity="warning",
    only_new=True,
    why="Turso's sync client for the browser (@tursodatabase/sync-wasm 0.4) cannot open a database whose schema has "
    "a CHECK constraint. Those for Node and Python can.",
    fix="If none of your clients sync in a browser, waive it for the whole folder: in registry.toml, a `[[waiver]]` "
    "without `version`. Otherwise check values in the app, or in a trigger with RAISE.",
    check=_checks,
)

STATE_RULES = (BROKEN_KEY, UNINDEXED_KEY, NOT_MADE, NO_PRIMARY_KEY, CLOCK_IN_TRIGGER, CHECK_IN_BROWSER)
