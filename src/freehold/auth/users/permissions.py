"""What roles may do, in the words of better-auth's admin plugin. A role that is not known may do nothing."""

from collections.abc import Mapping, Sequence

from freehold.auth.types import ADMIN_ROLE

Permissions = Mapping[str, Sequence[str]]

_ADMIN_MAY: Mapping[str, frozenset[str]] = {
    "user": frozenset(
        {
            "create",
            "list",
            "set-role",
            "ban",
            "impersonate",
            "delete",
            "set-password",
            "set-email",
            "get",
            "update",
        }
    ),
    "session": frozenset({"list", "revoke", "delete"}),
}


def may(roles: str, wanted: Permissions) -> bool:
    """Whether one of the roles, joined by commas, allows all of this. Who wants nothing may not."""
    if ADMIN_ROLE not in (role.strip() for role in roles.split(",")) or not wanted:
        return False
    return all(_ADMIN_MAY.get(resource, frozenset()).issuperset(actions) and resource in _ADMIN_MAY
               for resource, actions in wanted.items())  # fmt: skip
