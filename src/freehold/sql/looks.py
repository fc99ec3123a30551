"""Statements that make an engine expand views that they do not name: PRAGMAs that list columns.

An older version accepted views that double in size. To list their columns an engine expands each, and nothing
interrupts it. So in a database with such a view, a question about a table is answered, one about that view is
refused, and a list of all tables is built from the schema's own rows, without the column counts of views.
"""

import re
from collections.abc import Iterable, Sequence, Set

from freehold.sql.statements import keyword, without_explain
from freehold.sql.tokens import Kind, Token, tokens

_LIST = "table_list"
_ABOUT_ONE = frozenset({"table_info", "table_xinfo"})
_FUNCTIONS = frozenset({f"pragma_{name}" for name in (*_ABOUT_ONE, _LIST)})
# As SQLite's own list: tables that belong to a virtual table are shadows; only a table without rowids has an index
# for its primary key that is not an object of the schema.
_TABLES = """
SELECT 'main', name,
  CASE WHEN type = 'view' THEN 'view' WHEN rootpage = 0 THEN 'virtual'
    WHEN name IN (SELECT v.name || s.column1 FROM sqlite_schema v, (VALUES ('_data'), ('_idx'), ('_content'),
      ('_docsize'), ('_config'), ('_node'), ('_parent'), ('_rowid'), ('_segments'), ('_segdir'), ('_stat')) s
      WHERE v.type = 'table' AND v.rootpage = 0) THEN 'shadow' ELSE 'table' END,
  CASE WHEN rootpage <> 0 THEN (SELECT count(*) FROM pragma_table_xinfo(CASE WHEN rootpage <> 0 THEN m.name END)) END,
  rootpage <> 0 AND EXISTS (SELECT 1 FROM pragma_index_list(CASE WHEN rootpage <> 0 THEN m.name END) i
    WHERE i.origin = 'pk' AND i.name NOT IN (SELECT name FROM sqlite_schema WHERE type = 'index')),
  rootpage <> 0 AND substr(substr(sql, -100), length(rtrim(substr(sql, -100),
    replace(substr(sql, -100), ')', ''))) + 1) LIKE '%strict%'
FROM sqlite_schema m WHERE type IN ('table', 'view')
UNION ALL VALUES ('main', 'sqlite_schema', 'table', 5, 0, 0), ('temp', 'sqlite_temp_schema', 'table', 5, 0, 0)
"""
_NAMED = f"pragma_{_LIST}(schema, name, type, ncol, wr, strict) AS MATERIALIZED ({' '.join(_TABLES.split())})"
_START = re.compile(r"\s*(?:(with(?:\s+recursive)?)|select)\s", re.ASCII | re.IGNORECASE)


class LooksAtView(Exception):
    """The statement would make the engine expand a view that is too large."""


def may_look(sql: str) -> bool:
    """Whether the text may ask for the columns of a view, without naming it as a table."""
    lowered = sql.lower()
    return any(hint in lowered for hint in (_LIST, *_ABOUT_ONE))


def without_views(sql: str, too_large: Set[str]) -> str:
    """The text if it expands no view `too_large`, with a list of tables that does not either. Raises `LooksAtView`."""
    words = list(tokens(sql))
    while words and words[-1].text == ";":
        words.pop()
    about = without_explain(words)
    if about and keyword(about[0]) == "pragma":
        return _pragma(sql, words, about[1:], too_large)
    _check_functions(words, too_large)
    if not any(_name(word) == f"pragma_{_LIST}" for word in words):
        return sql
    start = _START.match(sql)
    if start is None or ";" in (word.text for word in words):
        raise LooksAtView(_refusal(too_large))
    if start[1] is None:
        return f"WITH {_NAMED} {sql}"
    return f"{sql[: start.end(1)]} {_NAMED}, {sql[start.end(1) :]}"


def _pragma(sql: str, words: Sequence[Token], about: Sequence[Token], too_large: Set[str]) -> str:
    """The same for a PRAGMA; `about` are the words that follow it."""
    if any(word.text == ";" for word in words):
        if any(_name(word) in {_LIST, *_ABOUT_ONE, *_FUNCTIONS} for word in words):
            raise LooksAtView(_refusal(too_large))
        return sql
    is_explained = len(words) > len(about) + 1
    if about[1:2] and about[1].text == ".":
        about = about[2:]
    name = _name(about[0]) if about else ""
    argument = [word.text for word in about[2:] if word.text != ")"]
    if name == _LIST:
        if is_explained or len(argument) > 1:
            raise LooksAtView(_refusal(too_large))
        found = f"WITH {_NAMED} SELECT * FROM pragma_{_LIST}"
        quoted = "".join(argument).replace("'", "''")
        return f"{found} WHERE name = '{quoted}' COLLATE NOCASE" if argument else found
    if name in _ABOUT_ONE and "".join(argument).lower() in too_large:
        raise LooksAtView(_refusal({"".join(argument).lower()}))
    return sql


def _check_functions(words: list[Token], too_large: Set[str]) -> None:
    """Raise unless each call about one table names it, and it is none of the views."""
    called = [at for at, word in enumerate(words) if _name(word) in _FUNCTIONS]
    if not called:
        return
    names = {_name(word) for word in words}
    # `arg` is the function's hidden column, which a condition or a natural join could set to another value.
    if "arg" in names or "natural" in names:
        raise LooksAtView(_refusal(too_large))
    for at in called:
        following = [word.text for word in words[at + 1 : at + 4]]
        if _name(words[at]) == f"pragma_{_LIST}":
            is_known = following[:1] != ["("] and (at == 0 or words[at - 1].text != ".")
        else:
            is_known = (
                following[:1] == ["("]
                and following[2:] in ([")"], [","])
                and words[at + 2].kind is Kind.STRING
                and words[at + 2].text.lower() not in too_large
            )
        if not is_known:
            raise LooksAtView(_refusal(too_large))


def _refusal(views: Iterable[str]) -> str:
    which = min(views, default="")
    what = f"the view `{which}` is" if which else "all views of the database together are"
    return (
        f"{what} too large once the views and queries in them are written out, and the columns cannot be told; "
        "ask for those of a table by its name, or drop such views"
    )


def _name(word: Token) -> str:
    return word.text.lower() if word.kind in {Kind.WORD, Kind.QUOTED, Kind.STRING} else ""
