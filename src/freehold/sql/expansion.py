"""How large a query grows when an engine puts views and common table expressions in place of their names.

SQLite does that while it prepares a statement: nothing interrupts it, and 700 bytes can become gigabytes. Two things
grow. Each reference brings the whole query in once more (`terms`); and where a query is merged into the one around
it, each use of a column brings in the column's expression (`nodes`). Both are estimated from above, from the text.
"""

from collections.abc import Mapping

from msgspec import Struct

from freehold.sql.shape import Query, Shape

# SQLite itself takes 200 tables in one query after all is merged; what is far above that never runs.
MAX_TERMS = 500
# Measured: about 250 bytes each, and a microsecond.
MAX_NODES = 1_000_000
# Of all views together, where a statement makes the engine look at each of them.
MAX_TERMS_OF_ALL = 20_000
_MAX_DEPTH = 200


class Cost(Struct, frozen=True):
    """Of one query. `columns` is the size of all its columns' expressions: what may be copied by whoever uses it."""

    terms: int = 0
    nodes: int = 0
    columns: int = 0

    @property
    def is_bounded(self) -> bool:
        """Whether an engine may be given this."""
        return self.terms <= MAX_TERMS and self.nodes <= MAX_NODES


NOTHING = Cost()
# Of what refers to itself through others, or cannot be read: such a view fails when it is used.
UNBOUNDED = Cost(MAX_TERMS + 1, MAX_NODES + 1, MAX_NODES + 1)


class Costs:
    """Costs of the queries of one statement, with `views` of the schema it is for."""

    def __init__(self, shape: Shape, views: Mapping[str, Cost]) -> None:
        self._named = shape.named
        self._views = views
        self._known: dict[str, Cost] = {}
        self._under_way: set[str] = set()

    def of(self, query: Query, depth: int = 0) -> Cost:
        """The cost of one query and all that it refers to."""
        if depth > _MAX_DEPTH:
            return UNBOUNDED
        terms, nodes, used = 1, query.size, 0
        for cost in (
            *(self._of_name(name, depth) for name in query.refs),
            *(self.of(part, depth + 1) for part in query.parts),
        ):
            terms += cost.terms
            nodes += cost.nodes
            used += cost.columns
        columns = query.out_size + query.out_repeats * used
        # Conditions and orders may name what the columns are, or what they are made of.
        nodes += query.repeats * (columns + used) if used or query.size > _SMALL else 0
        return Cost(min(terms, _ENOUGH), min(nodes, _ENOUGH), min(columns, _ENOUGH))

    def _of_name(self, name: str, depth: int) -> Cost:
        known = self._known.get(name)
        if known is not None:
            return known
        bodies = self._named.get(name)
        if bodies is None:
            return self._views.get(name, NOTHING)
        if name in self._under_way:  # recursive: the engine takes the rows so far
            return NOTHING
        self._under_way.add(name)
        # Whatever the name means where it stands.
        cost = self._views.get(name, NOTHING)
        for body in bodies:
            other = self.of(body, depth + 1)
            cost = Cost(max(cost.terms, other.terms), max(cost.nodes, other.nodes), max(cost.columns, other.columns))
        self._under_way.discard(name)
        self._known[name] = cost
        return cost


# A text of few tokens cannot grow by itself, whatever repeats in it.
_SMALL = 400
_ENOUGH = 10**9


def expansion_fault(shape: Shape, views: Mapping[str, Cost]) -> str | None:
    """Why a statement is refused that grows beyond all bounds, or None."""
    if shape.depth > _MAX_DEPTH:
        return f"parentheses may be nested {_MAX_DEPTH} deep"
    costs = Costs(shape, views)
    for query in shape.queries:
        cost = costs.of(query)
        if not cost.is_bounded:
            return (
                "the statement is too large once its common table expressions, subqueries and views are written out; "
                "refer to each of them less often"
            )
    return None


def view_costs(views: Mapping[str, Shape | None]) -> dict[str, Cost]:
    """The cost of each view by its name; None is one that was not read."""
    found: dict[str, Cost] = {}
    under_way: set[str] = set()

    def cost_of(name: str, depth: int) -> Cost:
        if name in found:
            return found[name]
        shape = views.get(name)
        if name not in views:
            return NOTHING
        if shape is None or name in under_way or depth > _MAX_DEPTH:
            return UNBOUNDED
        under_way.add(name)
        known = {other: cost_of(other, depth + 1) for other in shape.reads if other in views}
        costs = Costs(shape, known)
        each = [costs.of(query) for query in shape.queries]
        under_way.discard(name)
        found[name] = Cost(
            max((cost.terms for cost in each), default=1),
            max((cost.nodes for cost in each), default=1),
            max((cost.columns for cost in each), default=1),
        )
        return found[name]

    for name in views:
        cost_of(name, 0)
    return found


# Generated columns that refer to each other: an engine writes each out where it is used, and nothing interrupts it.
# Measured on both engines: of `g1 AS (g0 + g0)`, `g2 AS (g1 + g1)` and so on, the twenty-first takes a second and
# 400 MB, and each further one twice as much.

# By the table: by the column, how often each name stands in its expression. None for a table that was not read.
Columns = Mapping[str, Mapping[str, int]]
Generated = Mapping[str, Columns | None]

MAX_GENERATED_TERMS = 20_000  # of all columns of a table, as `SELECT *` has them


def with_generated(tables: Generated, shape: Shape) -> Generated:
    """The tables once a statement has run."""
    made = shape.made
    if made is not None:
        return {**tables, made.name: shape.generated} if shape.generated else tables
    if shape.verb != "alter":
        return tables
    after = dict(tables)
    for name in shape.writes:  # of a table that gets another name these are both
        for other in shape.writes & tables.keys():
            after[name] = tables[other]
        if shape.generated:
            before = after.get(name, {})
            after[name] = None if before is None else {**before, **shape.generated}
    return after


def too_large_columns(tables: Generated) -> frozenset[str]:
    """The tables whose generated columns are too large once they are written out."""
    return frozenset(name for name, columns in tables.items() if columns and _terms(columns) > MAX_GENERATED_TERMS)


def _terms(columns: Columns) -> int:
    """How many there are in all. No engine takes columns that refer to themselves; of these it is what is reached."""
    sizes = dict.fromkeys(columns, 1)
    for _ in columns:
        before = dict(sizes)
        for name, names in columns.items():
            size = 1 + sum(count * before.get(other, 1) for other, count in names.items())
            sizes[name] = min(size, MAX_GENERATED_TERMS + 1)
        if sizes == before:
            break
    return sum(sizes.values())
