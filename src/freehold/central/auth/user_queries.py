"""Searching, filtering and sorting users. Field names come from outside and are looked up, never put into SQL."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func

from freehold.auth.errors import NoSuchField
from freehold.auth.types import USER_ROLE
from freehold.auth.users.admin_types import Search, UserFilter, UserQuery
from freehold.central.tables import user

_BOOLEANS = {"emailVerified", "banned", "isAnonymous"}
_TRUE = {"true", "1"}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def matching(query: UserQuery) -> list[ColumnElement[bool]]:
    """The conditions of a query. Raises `NoSuchField`."""
    found = []
    if query.search is not None:
        found.append(_searched(query.search))
    if query.filter is not None:
        found.append(_filtered(query.filter))
    return found


def ordered(query: UserQuery) -> list[ColumnElement[Any]]:
    """The order of a query; the id decides between equals, so that pages do not overlap. Raises `NoSuchField`."""
    column = _column(query.sort_by)
    if query.is_descending:
        return [column.desc(), user.c.id.desc()]
    return [column.asc(), user.c.id.asc()]


def _searched(search: Search) -> ColumnElement[bool]:
    return _text_condition(user.c[search.field], search.operator, search.value)


def _filtered(wanted: UserFilter) -> ColumnElement[bool]:
    column = _column(wanted.field)
    values: Sequence[Any] = wanted.values
    if wanted.field in _BOOLEANS:
        values = [int(value.lower() in _TRUE) for value in values]
    if wanted.operator in _COMPARE:
        compared: ColumnElement[bool] = _COMPARE[wanted.operator](column, values[0])
        return compared
    if wanted.operator in {"in", "not_in"}:
        return column.in_(values) if wanted.operator == "in" else column.not_in(values)
    return _text_condition(column, wanted.operator, str(values[0]))


def _text_condition(column: ColumnElement[Any], how: str, text: str) -> ColumnElement[bool]:
    if how == "starts_with":
        return column.startswith(text, autoescape=True)
    if how == "ends_with":
        return column.endswith(text, autoescape=True)
    return column.contains(text, autoescape=True)


def _column(name: str) -> ColumnElement[Any]:
    if name not in user.c:
        raise NoSuchField(f"users have no field `{name[:40]}`")
    column: ColumnElement[Any] = user.c[name]
    # What better-auth, or a tool, left empty is the same as what it stands for.
    if name == "role":
        return func.coalesce(column, USER_ROLE)
    return func.coalesce(column, 0) if name in _BOOLEANS else column
