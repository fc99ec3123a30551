"""Every route of the application, and who may use it. A route that is missing here fails the tests."""

import re
from dataclasses import dataclass
from typing import Any

from freehold.http.auth import table

Outcomes = dict[str, int]
"""Status by whoever asks; see `WHO`."""

WHO = ("anonymous", "signed out", "user", "admin", "database token", "api key")

ALL_AUTH_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
"""Below /api/auth what is not offered is 404 without a body, as better-auth answers."""


def same(status: int) -> Outcomes:
    return dict.fromkeys(WHO, status)


OPEN = same(200)
ABSENT = same(404)
DESCRIBED = same(204)  # OPTIONS: which methods there are
SIGNED_IN = {**same(401), "user": 200, "admin": 200}
OWNERS = {**SIGNED_IN, "api key": 200}
NOT_THEIRS = {**same(401), "user": 400, "admin": 400}
STRANGERS = {**same(401), "user": 404, "admin": 404}
ADMIN = {**same(401), "user": 403, "admin": 201}
ADMIN_READS = {**same(401), "user": 403, "admin": 200}
ADMIN_ACTS_ON_NOBODY = {**same(401), "user": 403, "admin": 404}
DATABASE_TOKEN = {**same(401), "database token": 200}

REFUSED = {**same(401), "user": 400, "admin": 400}

PASSWORD = "a-long-password-2"


@dataclass(frozen=True)
class Row:
    """One route with one or more of its methods. `target` is what is asked for, if it is not the route itself."""

    methods: frozenset[str]
    route: str
    outcomes: Outcomes
    body: Any = None
    target: str = ""
    is_mount: bool = False

    @property
    def keys(self) -> set[tuple[str, str]]:
        return {("mounted" if self.is_mount else method, self.route) for method in self.methods}


def row(methods: str, route: str, outcomes: Outcomes, **more: Any) -> Row:
    return Row(frozenset(methods.split()), route, outcomes, **more)


def auth(path: str, outcomes: Outcomes, body: Any = None, target: str = "") -> list[Row]:
    """A route of /api/auth: what the table of the service offers, and nothing for all other methods."""
    assert path in _OFFERED, f"the service's table has no route {path}: remove its line here, or correct the path"
    offered, route = _OFFERED[path], table.BASE_PATH + path
    return [
        Row(offered, route, outcomes, body=body, target=target),
        Row(ALL_AUTH_METHODS - offered, route, ABSENT, target=target),
    ]


def served_path(path: str) -> str:
    """A path as this table has it: without the types of its parameters."""
    return re.sub(r":str\}", "}", path)


_OFFERED = {
    served_path(each.path): frozenset(
        other.method for other in table.ROUTES[table.BASE_PATH] if other.path == each.path
    )
    for each in table.ROUTES[table.BASE_PATH]
}


def read(route: str, outcomes: Outcomes = OPEN, target: str = "") -> list[Row]:
    return [row("GET", route, outcomes, target=target), row("OPTIONS", route, DESCRIBED, target=target)]


def write(route: str, outcomes: Outcomes, body: Any) -> list[Row]:
    return [row("POST", route, outcomes, body=body), row("OPTIONS", route, DESCRIBED)]


_STMT = {"sql": "SELECT 1"}
_BATCH = {"batch": {"steps": [{"stmt": _STMT}]}}
_PIPELINE = {"requests": [{"type": "execute", "stmt": _STMT}, {"type": "close"}]}

STRANGERS_RELEASE = {
    "signed": {
        "manifest": {
            "version": 1,
            "chain": "0" * 64,
            "counter": 2**52,
            "expires_at_s": 2**52,
            "key_id": "0" * 16,
            "signature": "AAAA",
        },
        "public_key": "AAAA",
        "rows": ["AAAA"],
    },
    "migrations": [{"version": 1, "name": "extra", "sql": "{sql}"}],
}
# Who may publish learns that the release is none; a key without the scope may not.
PUBLISHERS = {**same(401), "user": 403, "api key": 403, "admin": 409}

_NEW = {"email": "{new}"}
_WRONG_CODE = {"email": "{new}", "otp": "000000"}
# Mail to somebody else is not asked for by whoever is signed in.
_OTHERS_MAIL = {**same(200), "user": 400, "admin": 400}

EMAIL_ROUTES: list[Row] = [
    *auth("/email-otp/send-verification-otp", OPEN, {**_NEW, "type": "sign-in"}),
    *auth("/sign-in/email-otp", same(400), _WRONG_CODE),
    *auth("/email-otp/check-verification-otp", same(400), {**_WRONG_CODE, "type": "sign-in"}),
    *auth("/email-otp/verify-email", same(400), _WRONG_CODE),
    *auth("/email-otp/request-password-reset", OPEN, _NEW),
    *auth("/forget-password/email-otp", OPEN, _NEW),
    *auth("/email-otp/reset-password", same(400), {**_WRONG_CODE, "password": PASSWORD}),
    *auth("/email-otp/request-email-change", SIGNED_IN, {"newEmail": "{new}"}),
    *auth("/email-otp/change-email", REFUSED, {"newEmail": "{new}", "otp": "000000"}),
    *auth("/change-password", SIGNED_IN, {"currentPassword": PASSWORD, "newPassword": PASSWORD}),
    *auth("/verify-password", SIGNED_IN, {"password": PASSWORD}),
    *auth("/request-password-reset", OPEN, _NEW),
    *auth("/forget-password", OPEN, _NEW),
    *auth("/reset-password", same(400), {"newPassword": PASSWORD, "token": "x"}),
    *auth("/reset-password/{token}", same(302), target="/api/auth/reset-password/x"),
    *auth("/send-verification-email", _OTHERS_MAIL, _NEW),
    *auth("/verify-email", same(401), target="/api/auth/verify-email?token=x"),
    *auth("/change-email", SIGNED_IN, {"newEmail": "{new}"}),
    *auth("/update-user", SIGNED_IN, {"name": "N"}),
    *auth("/update-session", REFUSED, {}),
    *auth("/list-accounts", SIGNED_IN),
    *auth("/delete-user", REFUSED, {"password": "not-this-one"}),
    *auth(
        "/delete-user/callback",
        {**same(401), "user": 404, "admin": 404},
        target="/api/auth/delete-user/callback?token=x",
    ),
    *auth("/list-sessions", SIGNED_IN),
    *auth("/revoke-session", SIGNED_IN, {"token": "x"}),
    *auth("/revoke-sessions", SIGNED_IN),
    *auth("/revoke-other-sessions", SIGNED_IN),
]
_NOBODY = {"userId": "nobody"}

_TENANT = "/admin/tenants/{reference}"

# `{email}`, `{new}`, `{name}` and `{sql}` are filled in by the tests.
ROUTES: list[Row] = [
    *read("/health"),
    *read("/ready"),
    *read("/metrics"),  # asked from this machine; see tests/integration/test_metrics.py
    *auth("/ok", OPEN),
    *auth("/sign-up/email", OPEN, {"name": "N", "email": "{new}", "password": PASSWORD}),
    *auth("/sign-in/email", OPEN, {"email": "{email}", "password": PASSWORD}),
    *auth("/sign-out", OPEN),
    row("GET", "/api/auth/get-session", OPEN),
    row("POST", "/api/auth/get-session", same(405)),
    Row(ALL_AUTH_METHODS - {"GET", "POST"}, "/api/auth/get-session", ABSENT),
    row("GET POST PUT DELETE", "/api/auth", ABSENT, target="/api/auth/admin/list-all", is_mount=True),
    row("GET POST", "/api/auth", ABSENT, target="/api/auth/", is_mount=True),
    row("POST", "/api/auth", ABSENT, target="/api/auth/set-password", is_mount=True),
    *EMAIL_ROUTES,
    # No provider is set up here: tests/e2e/test_social.py has one.
    *auth("/sign-in/social", ABSENT, {"provider": "github"}),
    *auth("/link-social", STRANGERS, {"provider": "github"}),
    *auth("/callback/{provider_id}", same(302), target="/api/auth/callback/github"),
    *auth("/error", OPEN),
    *auth("/unlink-account", NOT_THEIRS, {"accountId": "x"}),
    *auth("/get-access-token", NOT_THEIRS, {"accountId": "x"}),
    *auth("/refresh-token", NOT_THEIRS, {"accountId": "x"}),
    *auth("/account-info", NOT_THEIRS),
    *auth("/sign-in/anonymous", OPEN),
    *auth("/delete-anonymous-user", {**same(401), "user": 403, "admin": 403}),
    *auth("/token", SIGNED_IN),
    *auth("/jwks", OPEN),
    *auth("/register", same(201), {"email": "{new}", "password": PASSWORD}),
    *auth("/login", OPEN, {"email": "{email}", "password": PASSWORD}),
    *auth("/verify", same(401)),  # neither a session's token nor a database's will do
    *auth("/refresh", same(401), {"refresh_token": "none"}),
    *auth("/logout", OPEN),
    *write("/api/v1/auth/signup", same(201), {"email": "{new}", "password": PASSWORD}),
    *write("/api/v1/auth/login", OPEN, {"email": "{email}", "password": PASSWORD}),
    *write("/api/v1/auth/logout", OPEN, None),
    *read("/api/v1/auth/me", SIGNED_IN),
    *auth("/admin/list-users", ADMIN_READS),
    *auth("/admin/get-user", ADMIN_ACTS_ON_NOBODY, target="/api/auth/admin/get-user?id=nobody"),
    *auth("/admin/create-user", ADMIN_READS, {"name": "N", "email": "{new}"}),
    *auth("/admin/update-user", ADMIN_ACTS_ON_NOBODY, {**_NOBODY, "data": {"name": "N"}}),
    *auth("/admin/set-role", ADMIN_ACTS_ON_NOBODY, {**_NOBODY, "role": "admin"}),
    *auth("/admin/set-user-password", ADMIN_ACTS_ON_NOBODY, {**_NOBODY, "newPassword": PASSWORD}),
    *auth("/admin/ban-user", ADMIN_ACTS_ON_NOBODY, _NOBODY),
    *auth("/admin/unban-user", ADMIN_ACTS_ON_NOBODY, _NOBODY),
    *auth("/admin/list-user-sessions", ADMIN_READS, _NOBODY),
    *auth("/admin/revoke-user-session", ADMIN_READS, {"sessionToken": "none"}),
    *auth("/admin/revoke-user-sessions", ADMIN_READS, _NOBODY),
    *auth("/admin/impersonate-user", ADMIN_ACTS_ON_NOBODY, _NOBODY),
    *auth("/admin/stop-impersonating", {**same(401), "user": 400, "admin": 400}),
    *auth("/admin/remove-user", ADMIN_ACTS_ON_NOBODY, _NOBODY),
    *auth("/admin/has-permission", SIGNED_IN, {"permissions": {"user": ["list"]}}),
    *auth("/api-key/create", SIGNED_IN, {"name": "one more"}),
    *auth("/api-key/list", SIGNED_IN),
    *auth("/api-key/get", STRANGERS, target="/api/auth/api-key/get?id=none"),
    *auth("/api-key/update", STRANGERS, {"keyId": "none", "enabled": False}),
    *auth("/api-key/delete", STRANGERS, {"keyId": "none"}),
    *read("/databases/user", OWNERS),
    *read("/admin/audit", ADMIN_READS),
    *read("/admin/rollouts", ADMIN_READS),
    row("GET", "/admin/rollouts/{rollout_id}", ADMIN_ACTS_ON_NOBODY, target="/admin/rollouts/nobody"),
    row("OPTIONS", "/admin/rollouts/{rollout_id}", DESCRIBED, target="/admin/rollouts/nobody"),
    *(
        each
        for verb in ("pause", "resume", "abort")
        for each in (
            row(
                "POST",
                f"/admin/rollouts/{{rollout_id}}/{verb}",
                ADMIN_ACTS_ON_NOBODY,
                target=f"/admin/rollouts/no/{verb}",
            ),
            row("OPTIONS", f"/admin/rollouts/{{rollout_id}}/{verb}", DESCRIBED, target=f"/admin/rollouts/no/{verb}"),
        )
    ),
    *read("/databases/guests", SIGNED_IN),
    row("GET DELETE", "/databases/guests/{guest_id}", STRANGERS, target="/databases/guests/nobody"),
    row("OPTIONS", "/databases/guests/{guest_id}", DESCRIBED, target="/databases/guests/nobody"),
    *read("/migrations"),
    *read("/migrations/current-version"),
    *read("/migrations/full"),
    *read("/migrations/keys"),
    *read("/migrations/parts/{sha256}", ABSENT, target=f"/migrations/parts/{'0' * 64}"),
    *read("/migrations/{version}", target="/migrations/1"),
    *read("/admin/registry/census", ADMIN_READS),
    *write("/migrations/verify", OPEN, {"version": 1}),
    *write("/migrations/publish", PUBLISHERS, STRANGERS_RELEASE),
    *write("/migrations/register", ADMIN, {"sqlScript": "{sql}", "description": "one more table"}),
    row("POST", "/db", DATABASE_TOKEN, body=_PIPELINE, target="/db/{name}/v3/pipeline", is_mount=True),
    row("POST", "/db", DATABASE_TOKEN, body=_PIPELINE, target="/db/{name}/v2/pipeline", is_mount=True),
    row("POST", "/db", DATABASE_TOKEN, body=_BATCH, target="/db/{name}/v3/cursor", is_mount=True),
    row("POST", "/db", DATABASE_TOKEN, body=_BATCH, target="/db/{name}/v1/batch", is_mount=True),
    row("POST", "/db", DATABASE_TOKEN, body={"stmt": _STMT}, target="/db/{name}/v1/execute", is_mount=True),
    row("GET HEAD", "/db", OPEN, target="/db/{name}/v3", is_mount=True),
    row("GET HEAD", "/db", OPEN, target="/db/{name}/v2", is_mount=True),
    row("GET PUT DELETE", "/db", same(405), target="/db/{name}/v3/pipeline", is_mount=True),
    row("GET POST", "/db", ABSENT, target="/db/{name}/v1/other", is_mount=True),
    row("GET POST DELETE", "/db", ABSENT, target="/db/{name}", is_mount=True),
    row("GET POST", "/db", ABSENT, target="/db", is_mount=True),
    *read("/admin/tenants", ADMIN_READS),
    *read("/admin/tenants/counts", ADMIN_READS),
    row("GET DELETE", _TENANT, ADMIN_ACTS_ON_NOBODY, target="/admin/tenants/nobody"),
    row("OPTIONS", _TENANT, DESCRIBED, target="/admin/tenants/nobody"),
    *(
        each
        for method, verb in (
            ("POST", "create"),
            ("POST", "suspend"),
            ("POST", "resume"),
            ("POST", "migrate"),
            ("POST", "fork"),
            ("GET", "export"),
            ("POST", "restore"),
        )
        for each in (
            row(method, f"{_TENANT}/{verb}", ADMIN_ACTS_ON_NOBODY, body={}, target=f"/admin/tenants/nobody/{verb}"),
            row("OPTIONS", f"{_TENANT}/{verb}", DESCRIBED, target=f"/admin/tenants/nobody/{verb}"),
        )
    ),
    *read("/schema"),
    *read("/schema/openapi.json"),
    *read("/schema/openapi.yml"),
    *read("/schema/openapi.yaml"),
    row("GET", "/schema/{path}", ABSENT, target="/schema/nothing"),
    row("OPTIONS", "/schema/{path}", ABSENT, target="/schema/nothing"),
]
