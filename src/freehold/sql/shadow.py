"""The tables that an engine keeps for an index or a virtual table, by name.

A client that writes to one of these writes data that the engine's C code reads without checks: libSQL's vector search
then ends the process. SQLite guards them if `SQLITE_DBCONFIG_DEFENSIVE` is set; a server that does not set it needs
this.

Source: `xShadowName` of SQLite's modules, and libSQL's `vectorIndex.c`.
"""

from collections.abc import Iterable

from freehold.sql.shape import Shape
from freehold.sql.vectors import VECTOR_FUNCTION, VECTOR_META

_OF_FTS5 = ("config", "content", "data", "docsize", "idx")
_OF_FTS3 = ("content", "docsize", "segdir", "segments", "stat")
_OF_RTREE = ("node", "parent", "rowid")
VECTOR_END = "_shadow"
SUFFIXES = {
    "fts5": _OF_FTS5,
    **dict.fromkeys(("fts3", "fts4"), _OF_FTS3),
    **dict.fromkeys(("rtree", "rtree_i32", "geopoly"), _OF_RTREE),
}
# Another module may keep any of these.
_ANY = (*_OF_FTS5, *_OF_FTS3, *_OF_RTREE)
SHADOW_ENDS = (VECTOR_END, *(f"_{suffix}" for suffix in sorted({*_ANY})))


def may_be_shadow(names: Iterable[str]) -> bool:
    """Whether some table of these names could be a shadow table, in some schema."""
    return any(name.endswith(SHADOW_ENDS) for name in names)


def owned_by(shape: Shape) -> frozenset[str]:
    """The shadow tables of the object that a statement creates; most have none."""
    made = shape.made
    if made is not None and made.kind == "virtual":
        return shadows_of(made.name, made.words[0].lower() if made.words else "")
    if made is not None and made.kind == "index" and VECTOR_FUNCTION in shape.reads:
        return frozenset({f"{made.name}{VECTOR_END}", VECTOR_META})
    return frozenset()


def shadows_of(table: str, module: str) -> frozenset[str]:
    """The names of a virtual table's shadow tables, whether they exist or not."""
    return frozenset(f"{table}_{suffix}" for suffix in SUFFIXES.get(module, _ANY))
