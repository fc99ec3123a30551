"""What `GET /admin/list-users` may be asked, read as better-auth reads it."""

from typing import Any, get_args
from urllib.parse import parse_qs

from litestar.types import Scope

from freehold.auth.users.admin_types import FilterOperator, Search, SearchOperator, UserFilter, UserQuery
from freehold.http.auth.bodies import Field, documented_query
from freehold.http.auth.replies import Refusal

_MAX_LIMIT = 1_000
_DEFAULT_LIMIT = 100
_MAX_OFFSET = 10**12

_CHOICES: dict[str, tuple[str, ...]] = {
    "searchField": ("email", "name"),
    "searchOperator": get_args(SearchOperator),
    "sortDirection": ("asc", "desc"),
    "filterOperator": get_args(FilterOperator),
}
_OTHERS = ("searchValue", "limit", "offset", "sortBy", "filterField", "filterValue")


def user_query(scope: Scope) -> UserQuery:
    """The query of a request. Raises a `Refusal` (400) for a word that is none of those allowed."""
    asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    last: dict[str, Any] = {name: values[-1] for name, values in asked.items()}
    faults = [
        f"[query.{name}] Invalid option: expected one of " + "|".join(f'"{word}"' for word in words)
        for name, words in _CHOICES.items()
        if name in last and last[name] not in words
    ]
    if faults:
        raise Refusal(400, "VALIDATION_ERROR", "; ".join(faults))
    search = wanted = None
    if last.get("searchValue"):
        search = Search(
            last["searchValue"], last.get("searchField", "email"), last.get("searchOperator", "contains")
        )
    if "filterValue" in last:
        wanted = UserFilter(
            asked["filterValue"], last.get("filterField") or "email", last.get("filterOperator", "eq")
        )
    return UserQuery(
        search=search,
        filter=wanted,
        sort_by=last.get("sortBy") or "createdAt",
        is_descending=bool(last.get("sortBy")) and last.get("sortDirection") == "desc",
        limit=min(number_in(last.get("limit")) or _DEFAULT_LIMIT, _MAX_LIMIT),
        offset=min(number_in(last.get("offset")) or 0, _MAX_OFFSET),
    )


def number_in(text: str | None) -> int | None:
    """A whole number above 0; anything else counts as not said."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 15:
        return None
    return int(text) or None


DocumentedQuery = documented_query(
    *(Field(name, is_required=False, choices=_CHOICES.get(name, ())) for name in (*_OTHERS, *_CHOICES))
)
"""For the API description."""
