"""What must be known about a database's schema to judge a statement before the engine sees it."""

from collections.abc import Callable, Mapping, Sequence, Set

from msgspec import Struct
from msgspec.structs import replace

from freehold.sql.expansion import (
    MAX_TERMS_OF_ALL,
    NOTHING,
    Columns,
    Cost,
    Generated,
    expansion_fault,
    too_large_columns,
    view_costs,
    with_generated,
)
from freehold.sql.shadow import VECTOR_END, owned_by, shadows_of
from freehold.sql.shape import Made, Shape
from freehold.sql.vectors import VECTOR_FUNCTION, VECTOR_META, VECTOR_META_SQL, VECTOR_SEARCH, vector_index_fault

_MOST_MADE = 2_000
_MOST_READ = 20_000  # an older version had no limit
_MAX_SQL = 300_000
# Reading `sqlite_schema` expands no view. SQLite itself normalises how each text begins.
_WANTED = """type IN ('view', 'trigger') OR (type = 'table' AND sql LIKE 'CREATE VIRTUAL TABLE %')
  OR (type = 'index' AND sql LIKE '%libsql_vector_idx%')"""
# Outside a CAST, the word AS precedes the expression of a generated column.
_GENERATED = """type = 'table' AND sql GLOB '*[^A-Za-z0-9_][aA][sS][^A-Za-z0-9_]*'
  AND sql NOT LIKE 'CREATE VIRTUAL TABLE %'"""
FACTS_SQL = f"""SELECT type, lower(name), lower(tbl_name),
  CASE WHEN (SELECT total(length(sql)) FROM sqlite_schema WHERE {_WANTED}) <= {_MAX_SQL} THEN sql END
FROM sqlite_schema WHERE {_WANTED}
UNION ALL SELECT CASE WHEN sql = '{VECTOR_META_SQL}' THEN 'meta' ELSE 'table' END, lower(name), '', ''
  FROM sqlite_schema
  WHERE type = 'table' AND name LIKE '%\\_shadow' ESCAPE '\\'
UNION ALL SELECT 'generated', lower(name), '',
  CASE WHEN (SELECT total(length(sql)) FROM sqlite_schema WHERE {_GENERATED}) <= {_MAX_SQL} THEN sql END
  FROM sqlite_schema WHERE {_GENERATED}
LIMIT {_MOST_READ + 1}"""
# A view or a trigger that calls these could ask about any view.
_LOOKS = frozenset({"pragma_table_list", "pragma_table_info", "pragma_table_xinfo"})


class Facts(Struct, frozen=True):
    """Of one schema; names in lower case.

    `views` are the shapes of its views by name, `costs` their costs; `triggers` the tables that each trigger writes.
    `too_large` are views that no engine may expand, and `may_list` says whether it may expand all others one after
    the other. `virtual` are the modules of virtual tables, `shadows` the tables that belong to these and to vector
    indexes. `vacant` are tables that a vector index of the right name would take over. `generated` are the generated
    columns by table, and `overgrown` the tables for which they are too large. `count` is the total of all of these.
    """

    views: dict[str, Shape | None] = {}
    costs: dict[str, Cost] = {}
    triggers: dict[str, frozenset[str] | None] = {}
    virtual: dict[str, str] = {}
    shadows: frozenset[str] = frozenset()
    vacant: frozenset[str] = frozenset()
    bad_index: str | None = None
    bad_trigger: str | None = None
    too_large: frozenset[str] = frozenset()
    may_list: bool = True
    generated: Generated = {}
    overgrown: frozenset[str] = frozenset()
    count: int = 0

    @property
    def matters(self) -> bool:
        """Whether any statement could be refused because of this schema."""
        return bool(self.views or self.shadows or self.overgrown) or self.count > _MOST_READ


NO_FACTS = Facts()


class Unfit(Exception):
    """The statement may not run on a database with this schema; the message says why."""


def facts_of(rows: Sequence[Sequence[object]], shape_of: Callable[[str], Shape | None]) -> Facts:
    """The facts in the rows of `FACTS_SQL`; `shape_of` returns the shape of an object's SQL.

    An object too large to be read counts as unbounded: a view by its size, a trigger as one that may write any table.
    """
    views: dict[str, Shape | None] = {}
    triggers: dict[str, Shape | None] = {}
    virtual: dict[str, str] = {}
    shadows: set[str] = set()
    tables: set[str] = set()
    generated: dict[str, Columns | None] = {}
    bad_index = None
    for kind, found, _table, sql in rows:
        name = str(found).lower()  # SQLite's own `lower` folds ASCII only
        if kind == "meta":
            shadows.add(VECTOR_META)
            continue
        if kind == "table" and sql == "":
            tables.add(name)
            continue
        shape = shape_of(sql) if isinstance(sql, str) else None
        if kind == "generated":
            if shape is None or shape.generated:
                generated[name] = None if shape is None else shape.generated
        elif kind == "view":
            views[name] = None if name in views else shape
        elif kind == "trigger":
            triggers[name] = None if name in triggers else shape
        elif kind == "table":
            virtual[name] = "" if shape is None else _module_of(shape)
            shadows |= shadows_of(name, virtual[name])
        else:
            shadows |= {f"{name}_shadow", VECTOR_META}
            if shape is None or vector_index_fault(shape) is not None:
                bad_index = name
    costs = _costs(views)
    too_large = _too_large(costs)
    return Facts(
        views,
        costs,
        {name: None if shape is None else shape.writes for name, shape in triggers.items()},
        virtual,
        frozenset(shadows),
        frozenset(tables - shadows),
        bad_index,
        _bad_trigger(triggers, costs, too_large),
        too_large,
        _may_list(costs),
        generated,
        too_large_columns(generated),
        len(rows),
    )


def _costs(views: Mapping[str, Shape | None]) -> dict[str, Cost]:
    costs = view_costs(views)
    if not _too_large(costs):
        return costs
    return view_costs({name: None if shape is None or shape.reads & _LOOKS else shape for name, shape in views.items()})


def _too_large(costs: Mapping[str, Cost]) -> frozenset[str]:
    return frozenset(name for name, cost in costs.items() if not cost.is_bounded)


def _may_list(costs: Mapping[str, Cost]) -> bool:
    return sum(cost.terms for cost in costs.values()) <= MAX_TERMS_OF_ALL


def _bad_trigger(triggers: Mapping[str, Shape | None], costs: Mapping[str, Cost], too_large: Set[str]) -> str | None:
    """A trigger that makes every write to its table too large, if there is one."""
    if not too_large:
        return None
    for name, shape in triggers.items():
        if shape is None or shape.reads & _LOOKS or expansion_fault(shape, costs) is not None:
            return name
    return None


def changed_by(facts: Facts, shape: Shape) -> Facts:
    """The facts after a statement has run: what it creates is added, what it drops still counts."""
    made = shape.made
    if made is None and shape.verb != "alter":
        return facts
    views, triggers, virtual = dict(facts.views), dict(facts.triggers), dict(facts.virtual)
    shadows = facts.shadows | owned_by(shape)
    vacant = set(facts.vacant)
    if made is not None:
        if made.kind == "view":
            views[made.name] = shape
        elif made.kind == "trigger":
            triggers[made.name] = shape.writes
        elif made.kind == "virtual":
            virtual[made.name] = _module_of(shape)
        vacant |= {made.name} if made.kind == "table" else set()
    else:
        vacant |= shape.writes
        for old in shape.writes & virtual.keys():
            for name in shape.writes - virtual.keys():
                virtual[name] = virtual[old]
                shadows |= shadows_of(name, virtual[old])
    vacant = {name for name in vacant if name.endswith(VECTOR_END)} - shadows
    costs = facts.costs if views == facts.views else _costs(views)
    generated = with_generated(facts.generated, shape)
    return replace(
        facts,
        views=views,
        costs=costs,
        triggers=triggers,
        virtual=virtual,
        shadows=shadows,
        vacant=frozenset(vacant),
        too_large=_too_large(costs),
        may_list=_may_list(costs),
        generated=generated,
        overgrown=facts.overgrown if generated is facts.generated else too_large_columns(generated),
        count=facts.count + (made is not None and _is_counted(shape, made)),
    )


def _is_counted(shape: Shape, made: Made) -> bool:
    """Whether the object would be among the rows of `FACTS_SQL`."""
    if made.kind == "table":
        return made.name.endswith(VECTOR_END) or bool(shape.generated)
    return made.kind != "index" or VECTOR_FUNCTION in shape.reads


def judge(shapes: Sequence[Shape], facts: Facts) -> Facts:
    """The facts after a text's statements have run. Raises `Unfit` if one may not run on this schema."""
    for shape in shapes:
        if reason := _fault(shape, facts):
            raise Unfit(reason)
        facts = changed_by(facts, shape)
    return facts


def _fault(shape: Shape, facts: Facts) -> str | None:
    if facts.count > _MOST_READ and shape.verb != "drop":
        return f"the database has more than {_MOST_READ} views, triggers and virtual tables; drop some first"
    if reason := _shadow_fault(shape, facts) or _making_fault(shape, facts):
        return reason
    if facts.bad_index is not None and VECTOR_SEARCH in shape.reads:
        return f"the vector index `{facts.bad_index}` asks for too much memory; drop it"
    return _view_fault(shape, facts) or _column_fault(shape, facts)


def _shadow_fault(shape: Shape, facts: Facts) -> str | None:
    if not facts.shadows:
        return None
    for name in (*shape.writes, *([shape.made.name] if shape.made else ())):
        if name in facts.shadows:
            return f"the table `{name}` belongs to an index or a virtual table, which alone may write it"
    if shape.writes and shape.verb != "drop":
        for trigger, written in facts.triggers.items():
            if written is None or not written.isdisjoint(facts.shadows):
                return f"the trigger `{trigger}` writes a table that belongs to an index or a virtual table; drop it"
    return None


def _making_fault(shape: Shape, facts: Facts) -> str | None:
    if shape.made is None and shape.verb != "alter":
        return None
    after = changed_by(facts, shape)
    if after.count > max(_MOST_MADE, facts.count):
        return f"a database has at most {_MOST_MADE} views, triggers and virtual tables in all; drop some first"
    return _generated_fault(shape, facts, after) or _owner_fault(facts, after) or _growth_fault(facts, after)


def _generated_fault(shape: Shape, facts: Facts, after: Facts) -> str | None:
    for name in after.overgrown - facts.overgrown:
        return (
            f"the generated columns of `{name}` would be too large once each is written out where another refers to"
            " it; have them refer to each other less often"
        )
    if shape.generated and None in map(after.generated.get, shape.writes):
        return "the tables with generated columns are too large to be looked at, so no such column is added"
    return None


def _owner_fault(facts: Facts, after: Facts) -> str | None:
    for name in after.shadows - facts.shadows:
        if name in facts.vacant:
            return f"a table `{name}` is there, which the new index would take for its own; rename it first"
        for trigger, written in after.triggers.items():
            if written is not None and name in written:
                return f"the trigger `{trigger}` writes `{name}`, which would belong to the new object"
    return None


def _growth_fault(facts: Facts, after: Facts) -> str | None:
    for name, cost in after.costs.items():
        if not cost.is_bounded and facts.costs.get(name, NOTHING).is_bounded:
            return (
                f"the view `{name}` would be too large once the views and queries in it are written out; "
                "refer to each of them less often"
            )
    return None


def _view_fault(shape: Shape, facts: Facts) -> str | None:
    if not facts.views:
        return None
    if not (shape.reads.isdisjoint(facts.costs) and shape.writes.isdisjoint(facts.costs)) and (
        reason := expansion_fault(shape, facts.costs)
    ):
        return reason
    if facts.bad_trigger is not None and shape.writes and shape.verb != "drop":
        return f"the trigger `{facts.bad_trigger}` is too large once the views in it are written out; drop it first"
    return _alter_fault(facts) if shape.verb == "alter" else None


def _alter_fault(facts: Facts) -> str | None:
    """Why ALTER is refused, or None: an engine that alters a table expands every view."""
    for name in facts.too_large:
        return f"the view `{name}` is too large once the views and queries in it are written out; drop it first"
    if not facts.may_list:
        return "all views of the database together are too large to be looked at; drop some of them"
    return None


def _column_fault(shape: Shape, facts: Facts) -> str | None:
    if not facts.overgrown or shape.verb == "drop":
        return None
    for name in facts.overgrown & (shape.reads | shape.writes):
        return f"the generated columns of `{name}` are too large once each is written out; drop the table"
    return None


def _module_of(shape: Shape) -> str:
    return shape.made.words[0].lower() if shape.made is not None and shape.made.words else ""
