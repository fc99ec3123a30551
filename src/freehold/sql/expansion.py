"""How large a query grows when an engine expands views and common table expressions.

SQLite does that while it prepares a statement: nothing interrupts it, and 700 bytes can become gigabytes. Two things
grow. Each reference brings the whole query in once more (`terms`); and where a query is merged into the one around
it, each use of a column brings in the column's expression (`nodes`). Upper bounds of both are computed from the text.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from freehold.sql.shape import Query, Shape

# SQLite itself accepts about 200 tables in one query once all is merged; a query far above that never runs.
MAX_TERMS = 500
# Measured: each takes about 250 bytes and a microsecond.
MAX_NODES = 1_000_000
# Of all views together, for a statement that makes the engine expand each of them.
MAX_TERMS_OF_ALL = 20_000
_MAX_DEPTH = 200


class Cost(Struct, frozen=True):
    """Of one query. `columns` is the size of all its columns' expressions, which a query that uses it may copy."""

    terms: int = 0
    nodes: int = 0
    columns: int = 0

    @property
    def is_bounded(self) -> bool:
        """Whether it is small enough for an engine."""
        return self.terms <= MAX_TERMS and self.nodes <= MAX_NODES


NOTHING = Cost()
# Of a view that refers to itself through others, or was not read: it fails when it is used.
UNBOUNDED = Cost(MAX_TERMS + 1, MAX_NODES + 1, MAX_NODES + 1)


class Costs:
    """Costs of the queries of one statement; `views` are the costs of the schema's views."""

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
        # Conditions and ORDER BY may name the columns, or what they are computed from.
        nodes += query.repeats * (columns + used) if used or query.size > _SMALL else 0
        return Cost(min(terms, _ENOUGH), min(nodes, _ENOUGH), min(columns, _ENOUGH))

    def _of_name(self, name: str, depth: int) -> Cost:
        if (known := self._known.get(name)) is not None:
            return known
        if (bodies := self._named.get(name)) is None:
            return self._views.get(name, NOTHING)
        if name in self._under_way:  # recursive: the engine uses the rows so far
            return NOTHING
        self._under_way.add(name)
        # The most of all that the name may mean in its place.
        cost = _most([self._views.get(name, NOTHING), *(self.of(body, depth + 1) for body in bodies)])
        self._under_way.discard(name)
        self._known[name] = cost
        return cost


def _most(costs: Sequence[Cost]) -> Cost:
    return Cost(
        max(cost.terms for cost in costs), max(cost.nodes for cost in costs), max(cost.columns for cost in costs)
    )


# A text of few tokens cannot grow large by itself, however often names repeat in it.
_SMALL = 400
_ENOUGH = 10**9


def expansion_fault(shape: Shape, views: Mapping[str, Cost]) -> str | None:
    """Why a statement is refused for growing too large, or None."""
    if shape.depth > _MAX_DEPTH:
        return f"parentheses may be nested {_MAX_DEPTH} deep"
    costs = Costs(shape, views)
    if all(costs.of(query).is_bounded for query in shape.queries):
        return None
    return (
        "the statement is too large once its common table expressions, subqueries and views are written out; "
        "refer to each of them less often"
    )


def view_costs(views: Mapping[str, Shape | None]) -> dict[str, Cost]:
    """The cost of each view by name; a shape of None is a view that was not read."""
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
        found[name] = _most(each or [Cost(1, 1, 1)])
        return found[name]

    for name in views:
        cost_of(name, 0)
    return found


# Generated columns that refer to each other: an engine expands each where it is used, and nothing interrupts it.
# Measured on both engines: of `g1 AS (g0 + g0)`, `g2 AS (g1 + g1)` and so on, the twenty-first takes a second and
# 400 MB, and each further one twice as much.

# By column: how often each name stands in its expression. `Generated` holds them by table, None if it was not read.
Columns = Mapping[str, Mapping[str, int]]
Generated = Mapping[str, Columns | None]

MAX_GENERATED_TERMS = 20_000  # of all columns of a table, as in `SELECT *`


def with_generated(tables: Generated, shape: Shape) -> Generated:
    """The tables after a statement has run."""
    made = shape.made
    if made is not None:
        return {**tables, made.name: shape.generated} if shape.generated else tables
    if shape.verb != "alter":
        return tables
    after = dict(tables)
    for name in shape.writes:  # when a table is renamed, these are both names
        for other in shape.writes & tables.keys():
            after[name] = tables[other]
        if shape.generated:
            before = after.get(name, {})
            after[name] = None if before is None else {**before, **shape.generated}
    return after


def too_large_columns(tables: Generated) -> frozenset[str]:
    """The tables whose generated columns are too large once they are expanded."""
    return frozenset(name for name, columns in tables.items() if columns and _terms(columns) > MAX_GENERATED_TERMS)


def _terms(columns: Columns) -> int:
    """How many terms there are in all. Counting is cut off for self-referring columns, which no engine accepts."""
    sizes = dict.fromkeys(columns, 1)
    for _ in columns:
        before = dict(sizes)
        for name, names in columns.items():
            size = 1 + sum(count * before.get(other, 1) for other, count in names.items())
            sizes[name] = min(size, MAX_GENERATED_TERMS + 1)
        if sizes == before:
            break
    return sum(sizes.values())
