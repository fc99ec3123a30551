"""Rules about single statements: what they do to rows."""

from collections.abc import Iterator

from sqlglot import exp

from freehold.migrate.determinism import ONE, freeze
from freehold.migrate.names import folded
from freehold.migrate.types import Migration
from freehold.registry.lint.findings import Problem, Rule
from freehold.registry.lint.step import Parsed, Step


def _chance(step: Step) -> Iterator[Problem]:
    for one in step.statements:
        is_copy = one.words[:2] == ("create", "table") and {"as", "select"} <= {*one.words}
        if one.is_data or is_copy:
            if depends_on_chance(one.piece.sql):
                yield Problem("the rows it writes depend on the time or on chance", one.number)
            elif (column := chance_by_default(step, one)) is not None:
                yield Problem(f"it leaves {column} to a default that depends on the time or on chance", one.number)


def depends_on_chance(sql: str) -> bool:
    """Return whether its result depends on the time or on chance."""
    return freeze([Migration(version=1, name="a", sql=sql)], ONE) is not None


def chance_by_default(step: Step, one: Parsed) -> str | None:
    """Return the column that an INSERT leaves to such a default, if there is one."""
    tree = one.tree
    if not isinstance(tree, exp.Insert):
        return None
    table = step.after.tables.get(one.written) or step.before.tables.get(one.written)
    named = {folded(name.name) for name in tree.this.expressions} if isinstance(tree.this, exp.Schema) else None
    if table is None or (named is None and not tree.args.get("default")):
        return None
    for column in table.columns:
        is_left_out = column.default is not None and column.name not in (named or ())
        if is_left_out and depends_on_chance(" ".join(("select", *(column.default or ())))):
            return f"{table.name}.{column.name}"
    return None


NON_DETERMINISTIC = Rule(
    code="FH106",
    slug="non-deterministic",
    why="CURRENT_TIMESTAMP, random() and the like produce different rows in each database: the server's copy and the "
    "device's differ forever, and new tenants cannot start from a snapshot.",
    fix="Write a fixed value, or leave the column NULL and let the app fill it.",
    check=_chance,
)


def _unbounded(step: Step) -> Iterator[Problem]:
    for one in step.statements:
        if not isinstance(one.tree, exp.Update | exp.Delete) or one.written not in step.before.tables:
            continue
        where = one.tree.args.get("where")
        # `WHERE 1 = 1` excludes nothing either.
        is_always_true = where is not None and (where.find(exp.Column, exp.Query) is None or _holds_anyway(where.this))
        if (where is None or is_always_true) and one.tree.args.get("limit") is None:
            what = "changes" if isinstance(one.tree, exp.Update) else "deletes"
            yield Problem(f"it {what} every row of {one.written}", one.number)


def _holds_anyway(condition: exp.Expr) -> bool:
    """Return whether it excludes nothing although it names a column: `n = n`, `n = 5 OR 1`."""
    condition = condition.unnest()
    if isinstance(condition, exp.Or):
        return _holds_anyway(condition.left) or _holds_anyway(condition.right)
    if isinstance(condition, exp.And):
        return _holds_anyway(condition.left) and _holds_anyway(condition.right)
    if isinstance(condition, exp.EQ | exp.Is | exp.GTE | exp.LTE):
        return bool(condition.left.unnest() == condition.right.unnest())
    if isinstance(condition, exp.Boolean):
        return bool(condition.this)
    return isinstance(condition, exp.Literal) and condition.is_number and float(condition.this) != 0


UNBOUNDED = Rule(
    code="FH107",
    slug="unbounded-data-change",
    why="An UPDATE or DELETE without WHERE touches every row: it holds the write lock for as long as that takes, and "
    "sends every row to every replica again.",
    fix="Select the rows that need it with WHERE (`WHERE new_column IS NULL`), or waive it for a table that stays "
    "small.",
    check=_unbounded,
)


def _not_repeatable(step: Step) -> Iterator[Problem]:
    for one in step.statements:
        if one.written not in step.before.tables:
            continue
        if isinstance(one.tree, exp.Update):
            for change in one.tree.expressions:
                if isinstance(change, exp.EQ) and isinstance(change.this, exp.Column) and _builds_on(change):
                    yield Problem(f"{change.this.name} is computed from its own value", one.number)
        elif isinstance(one.tree, exp.Insert):
            has_clause = "conflict" in one.words or one.words[:2] == ("insert", "or") or one.words[0] == "replace"
            is_guarded = has_clause or one.tree.find(exp.Exists) is not None
            if not is_guarded and not _is_command(one):
                yield Problem(f"it inserts into {one.written} whatever is there already", one.number)


def _is_command(one: Parsed) -> bool:
    """Return whether it is a command to a full-text table, such as `rebuild`, and inserts no row."""
    return one.words[2:3] == one.words[4:5] and one.words[3:4] == ("(",)


def _builds_on(change: exp.EQ) -> bool:
    """`n = n + 1` does; `tags = coalesce(tags, '')` and `kind = lower(kind)` give the same result when run twice."""
    name = folded(change.this.name)
    return any(
        folded(column.name) == name
        for found in change.expression.find_all(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.DPipe)
        for column in found.find_all(exp.Column)
    )


NOT_REPEATABLE = Rule(
    code="FH108",
    slug="not-repeatable",
    severity="warning",
    why="The ledger makes sure that a migration runs once. If rows also come from elsewhere (an import, a restore, an "
    "app that created its own), a statement that builds on what it finds produces other rows the second time.",
    fix="State the result: `INSERT … ON CONFLICT DO NOTHING`, `WHERE NOT EXISTS`, `SET n = 1`.",
    check=_not_repeatable,
)


def _not_understood(step: Step) -> Iterator[Problem]:
    for one in step.statements:
        if one.is_data and one.tree is None:
            yield Problem("the parser cannot read it, so FH106 to FH108 did not look at it", one.number)


NOT_UNDERSTOOD = Rule(
    code="FH110",
    slug="not-understood",
    severity="warning",
    why="The parser does not support the syntax of a statement that changes rows (REPLACE, UPDATE OR …). SQLite "
    "accepted it, but the rules about rows could not check it.",
    fix="Write it in another way, or check it yourself and waive it.",
    check=_not_understood,
)

STATEMENT_RULES = (NON_DETERMINISTIC, UNBOUNDED, NOT_REPEATABLE, NOT_UNDERSTOOD)
