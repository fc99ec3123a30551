"""Reads and checks administrators' requests, with the messages of better-auth's own checks."""

from datetime import datetime
from typing import Any, get_args
from urllib.parse import parse_qs

from litestar.types import Scope

from freehold.auth.users.admin_types import FilterOperator, Search, SearchOperator, UserEdit, UserFilter, UserQuery
from freehold.dates import from_iso, to_iso
from freehold.http.auth.bodies import Field, check, optional
from freehold.http.auth.errors import BadField, BadRole

USER_ID = Field("userId")

_MAX_ROLES_CHARS = 200
# A hundred years; a longer ban should be permanent.
_MAX_BAN_S = 3_155_760_000
_NULL = type(None)
# The fields of `UserEdit` by their names in requests, with the types that they accept.
_EDITABLE: dict[str, tuple[str, tuple[type, ...]]] = {
    "name": ("name", (str,)),
    "email": ("email", (str,)),
    "image": ("image", (str, _NULL)),
    "banReason": ("ban_reason", (str, _NULL)),
    "emailVerified": ("email_verified", (bool,)),
    "banned": ("banned", (bool,)),
}


def read(body: Any, *fields: Field) -> dict[str, Any]:
    """The fields of a body; `userId` may also be a number. Raises a refusal (400)."""
    if isinstance(body, dict) and type(body.get("userId")) in {int, float}:
        body = {**body, "userId": str(body["userId"])}
    return check(body, fields)


def role_in(value: Any) -> str:
    """One role or several, as they are stored: joined by commas. Raises a refusal (400)."""
    roles = value if isinstance(value, list) else [value]
    if not roles or not all(isinstance(role, str) and role.strip() for role in roles):
        raise BadRole
    joined = ",".join(roles)
    if len(joined) > _MAX_ROLES_CHARS or not joined.isprintable():
        raise invalid("role", "too long, or with characters that a role cannot have")
    return joined


def ban_seconds(value: float | None) -> float | None:
    """How many seconds a ban lasts; None, for 0 or no value, is permanent. Raises a refusal (400)."""
    if value is None or value == 0:
        return None
    if not 0 < value <= _MAX_BAN_S:
        raise invalid("banExpiresIn", f"expected a number of seconds above 0 and at most {_MAX_BAN_S}")
    return value


def edit_in(data: dict[str, Any], *, takes_names: bool = True) -> UserEdit:
    """The changes of a user in `data`; unknown fields are dropped. Raises a refusal (400)."""
    values: dict[str, Any] = {}
    for wire, (name, kinds) in _EDITABLE.items():
        if wire in data and (takes_names or wire not in {"name", "email"}):
            values[name] = _checked(wire, data[wire], *kinds)
    if "role" in data:
        values["role"] = role_in(data["role"])
    if "banExpires" in data:
        values["ban_expires"] = _moment(data["banExpires"])
    return UserEdit(**values)


def invalid(field: str, reason: str) -> BadField:
    return BadField(f"[body.{field}] Invalid input: {reason}")


def _checked(field: str, value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        names = {str: "string", bool: "boolean", _NULL: "null"}
        raise invalid(f"data.{field}", f"expected {' or '.join(names[kind] for kind in kinds)}")
    if isinstance(value, str) and "\0" in value:
        raise invalid(f"data.{field}", "a NUL character is not allowed")
    return value


def _moment(value: Any) -> str | None:
    if value is None:
        return None
    try:
        moment: datetime = from_iso(_checked("banExpires", value, str))
        return to_iso(moment)
    except (ValueError, OverflowError) as error:
        raise invalid("data.banExpires", "expected a date") from error


# The query of `GET /admin/list-users`, read as better-auth reads it.

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
    """The query of a request. Raises a refusal (400) for a value that is not among the choices."""
    asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    last: dict[str, Any] = {name: values[-1] for name, values in asked.items()}
    faults = [
        f"[query.{name}] Invalid option: expected one of " + "|".join(f'"{word}"' for word in words)
        for name, words in _CHOICES.items()
        if name in last and last[name] not in words
    ]
    if faults:
        raise BadField("; ".join(faults))
    search = wanted = None
    if last.get("searchValue"):
        search = Search(last["searchValue"], last.get("searchField", "email"), last.get("searchOperator", "contains"))
    if "filterValue" in last:
        wanted = UserFilter(asked["filterValue"], last.get("filterField") or "email", last.get("filterOperator", "eq"))
    return UserQuery(
        search=search,
        filter=wanted,
        sort_by=last.get("sortBy") or "createdAt",
        is_descending=bool(last.get("sortBy")) and last.get("sortDirection") == "desc",
        limit=min(number_in(last.get("limit")) or _DEFAULT_LIMIT, _MAX_LIMIT),
        offset=min(number_in(last.get("offset")) or 0, _MAX_OFFSET),
    )


def number_in(text: str | None) -> int | None:
    """A whole number above 0; anything else counts as absent."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 15:
        return None
    return int(text) or None


LIST_QUERY = tuple(optional(name, choices=_CHOICES.get(name, ())) for name in (*_OTHERS, *_CHOICES))
"""For the API description."""
