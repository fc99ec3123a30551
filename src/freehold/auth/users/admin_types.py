"""What administrators query and change, and what roles allow."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from freehold.auth.types import ADMIN_ROLE, User

SearchOperator = Literal["contains", "starts_with", "ends_with"]
FilterOperator = Literal["eq", "ne", "lt", "lte", "gt", "gte", "in", "not_in", "contains", "starts_with", "ends_with"]

NO_REASON = "No reason"


class Search(msgspec.Struct, frozen=True):
    """A text within an address or a name. Matching ignores the case of Latin letters."""

    value: str
    field: Literal["email", "name"] = "email"
    operator: SearchOperator = "contains"


class UserFilter(msgspec.Struct, frozen=True):
    """A condition on one field, by its name on the wire. Only `in` and `not_in` take several values."""

    values: Sequence[str]
    field: str = "email"
    operator: FilterOperator = "eq"


class UserQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter and order of users. `sort_by` is a field's name on the wire; the default is oldest first."""

    search: Search | None = None
    filter: UserFilter | None = None
    sort_by: str = "createdAt"
    is_descending: bool = False
    limit: int = 100
    offset: int = 0


class UserPage(msgspec.Struct, frozen=True):
    """A page of the matching users, and their total number."""

    users: Sequence[User]
    total: int


class UserEdit(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An administrator's changes to a user; unset fields stay as they are. Encoded as the table's columns."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    email: str | msgspec.UnsetType = msgspec.UNSET
    email_verified: bool | msgspec.UnsetType = msgspec.UNSET
    image: str | msgspec.UnsetType | None = msgspec.UNSET
    role: str | msgspec.UnsetType = msgspec.UNSET
    banned: bool | msgspec.UnsetType = msgspec.UNSET
    ban_reason: str | msgspec.UnsetType | None = msgspec.UNSET
    ban_expires: str | msgspec.UnsetType | None = msgspec.UNSET


class CreatedUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user created by an administrator. Without a password they must sign in some other way."""

    name: str
    email: str
    password: str | None = None
    more: UserEdit = UserEdit()


# Names are those of better-auth's admin plugin. Unknown roles allow nothing.

Permissions = Mapping[str, Sequence[str]]

_ADMIN_MAY: Mapping[str, frozenset[str]] = {
    "user": frozenset(
        ["create", "list", "set-role", "ban", "impersonate", "delete", "set-password", "set-email", "get", "update"]
    ),
    "session": frozenset({"list", "revoke", "delete"}),
}


def may(roles: str, wanted: Permissions) -> bool:
    """Whether one of the roles (joined by commas) allows all of `wanted`; False if nothing is wanted."""
    if ADMIN_ROLE not in (role.strip() for role in roles.split(",")) or not wanted:
        return False
    return all(_ADMIN_MAY.get(resource, frozenset()).issuperset(actions) and resource in _ADMIN_MAY
               for resource, actions in wanted.items())  # fmt: skip
