"""The errors of a route and who may call it, derived from its guards, dependencies, rate and declared errors.

No route lists its statuses, so the API description cannot fall behind the code.
"""

from collections.abc import Container, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET, Struct, UnsetType

from freehold.http.auth.origin_check import SAFE_METHODS
from freehold.http.auth.replies import auth_status_of
from freehold.http.guards import require_admin
from freehold.http.middleware.rate_limits import Form, Rules
from freehold.http.problems import status_of
from freehold.http.registry.publishing import require_publisher
from freehold.http.route_facts import ALONE, CALLER, Caller, refused_by

Security = list[dict[str, list[str]]]
Described = dict[str, Any]

_SESSION = ("sessionCookie", "sessionToken", "formCookie")
# `/api/auth` accepts its own cookie only; the form's cookie is for `/api/v1/auth` and the routes outside.
_OWN_SESSION = ("sessionCookie", "sessionToken")
_FROM_A_BROWSER = {400, 403, 413, 415}  # what `AuthContext.accept` checks first
_BODY = {400, 408, 413, 429}  # limits of size, time and memory


class Problem(Struct, frozen=True, kw_only=True):
    """RFC 9457. `code` is for programs and listed in docs/errors.md; `detail` says what happened and what to do.

    `faults` lists the faults if there may be several; quote `request_id` when asking about a 5xx; `reason` is the
    operator's reason for a suspension.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    faults: list[str] | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class AuthError(Struct, frozen=True, kw_only=True):
    """better-auth's form of an error. A few have no `code`; a few 401 and 404 have no body at all."""

    message: str
    code: str | UnsetType = UNSET


class HranaError(Struct, frozen=True, kw_only=True):
    """Hrana's form of an error, as official clients show it. `code` is like `SQLITE_CONSTRAINT`."""

    message: str
    code: str


FORMS: Mapping[Form, tuple[str, type[Struct], str]] = {
    "api": ("Problem", Problem, "application/problem+json"),
    "auth": ("AuthError", AuthError, "application/json"),
    "database": ("HranaError", HranaError, "application/json"),
}
"""By the kind of path: the error body's name, its form, and its media type."""

_SAID: dict[int, str] = {
    400: "The request is not valid",
    401: "The credentials are missing or no longer valid",
    403: "The caller is not allowed to do this",
    404: "It does not exist, or the caller may not see it",
    408: "The body did not arrive in time",
    409: "The request conflicts with the current state",
    410: "It was deleted",
    413: "The body is over the limit",
    415: "The body's media type is not supported",
    422: "It is already taken",
    426: "The app is too old for the database's schema",
    429: "Too many requests, or too much at once: try again after `Retry-After` seconds",
    503: "Something that the service depends on is not responding: try again after `Retry-After` seconds",
}


def form_of(path: str) -> Form:
    """The form of errors at this path."""
    if path == "/db" or path.startswith("/db/"):
        return "database"
    return "auth" if path.startswith("/api/auth/") else "api"


def statuses_of(handler: HTTPRouteHandler, method: str, path: str, rules: Rules, *, has_input: bool) -> set[int]:
    """All error statuses of the route. `has_input`: the framework validates its parameters or body."""
    takes_body = not {"data", "request"}.isdisjoint(handler.parsed_fn_signature.parameters)
    opt, form, unsafe = handler.opt, form_of(path), method not in SAFE_METHODS
    found = {_status(each, form) for each in refused_by(opt)}
    callers = callers_of(handler)
    if has_input and form == "api":  # `/api/auth` reads its input itself, and declares a 400 where it may occur
        found.add(400)
    if unsafe:
        found |= _BODY if form != "auth" and takes_body else set()
        found |= _BODY | _FROM_A_BROWSER if "/auth/" in path else set()
    if callers and {} not in callers:
        found.add(401)
        if any(roles for each in callers for roles in each.values()) or unsafe:
            found.add(403)  # a missing role or scope, or a cookie sent by another site's page
    if rules.of(path) is not None:
        found.add(429)
    if not opt.get(ALONE):
        found.add(503)
    return found


def _with(role: str, *schemes: str) -> Security:
    return [{scheme: [role] if role else []} for scheme in schemes]


_CALLERS: dict[Caller, Security] = {
    "session": _with("", *_OWN_SESSION),
    "maybe session": [{}, *_with("", *_OWN_SESSION), {"apiKey": []}],
    "admin": _with("admin", *_OWN_SESSION),
    "access token": [{"accessToken": []}],
    "form session": _with("", *_SESSION),
    "metrics token": [{}, {"metricsToken": []}],
}


def callers_of(handler: HTTPRouteHandler) -> Security:
    """Who may call the route, as OpenAPI's security requirements with roles and scopes; empty for everyone."""
    guards, asked = handler.resolve_guards(), handler.parsed_fn_signature.parameters
    found: Security = []
    if require_admin in guards:
        found = _with("admin", *_SESSION)
    if require_publisher in guards:
        found = [*_with("admin", *_SESSION), {"apiKey": ["registry:publish"]}]
    if "signed_in" in asked:
        found = _with("", *_SESSION)
    if "database_caller" in asked:
        found = [*_with("", *_SESSION), {"apiKey": ["databases:read"]}]
    return _CALLERS.get(handler.opt.get(CALLER, "anyone"), found)


def shared_responses() -> Described:
    """All error responses, to be referred to: `components.responses`."""
    return {_name(form, status): _response(form, status) for form in FORMS for status in sorted(_SAID)}


def error_schemas() -> Described:
    _, found = msgspec.json.schema_components(
        [kind for _, kind, _ in FORMS.values()], ref_template="#/components/schemas/{name}"
    )
    return dict(found)


def references(form: Form, statuses: Iterable[int], bare: Container[int] = ()) -> Described:
    """The error responses of one route; those that are `bare` have no body."""
    return {
        str(status): {"description": f"{_SAID[status]}; without a body."}
        if status in bare
        else {"$ref": f"#/components/responses/{_name(form, status)}"}
        for status in sorted(statuses)
    }


def security_schemes(session_cookie: str, form_cookie: str) -> Described:
    """All ways to authenticate."""
    return {
        "sessionCookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": session_cookie,
            "description": "The session cookie that sign-in sets. Requests that change something must come from "
            "a page of a trusted origin. `admin` is the role that the user must have.",
        },
        "sessionToken": {
            "type": "http",
            "scheme": "bearer",
            "description": "The session's token, from `set-auth-token` or the body of a sign-in; outside `/api/auth` "
            "an access token of `/api/auth/login` as well.",
        },
        "formCookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": form_cookie,
            "description": "The session cookie that `/api/v1/auth` sets.",
        },
        "accessToken": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The access token of `/api/auth/login`, `/register` and `/refresh`.",
        },
        "apiKey": {
            "type": "apiKey",
            "in": "header",
            "name": "x-api-key",
            "description": "A user's API key. A request with one is authenticated by nothing else. "
            "The scopes are listed.",
        },
        "databaseToken": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A database's token, from `GET /databases/user`: for that database alone.",
        },
        "metricsToken": {
            "type": "http",
            "scheme": "bearer",
            "description": "METRICS_TOKEN. If none is set, only this machine itself may read the metrics.",
        },
    }


def _status(refusal: Any, form: Form) -> int:
    if isinstance(refusal, int):
        return refusal
    return auth_status_of(refusal) if form == "auth" else status_of(refusal)


def _name(form: Form, status: int) -> str:
    return f"{FORMS[form][0]}{status}"


def _response(form: Form, status: int) -> Described:
    name, _, media_type = FORMS[form]
    headers: Described = {}
    if status in {429, 503}:
        headers["Retry-After"] = {
            "description": "Seconds to wait.",
            "required": True,
            "schema": {"type": "integer", "minimum": 0},
        }
    if status == HTTPStatus.UNAUTHORIZED and form != "auth":
        headers["WWW-Authenticate"] = {"description": "`Bearer`", "schema": {"type": "string"}}
    return {
        "description": f"{_SAID[status]}.",
        **({"headers": headers} if headers else {}),
        "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }
