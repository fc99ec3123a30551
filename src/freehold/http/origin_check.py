"""Keeps other websites from acting through a visitor's browser (CSRF), and from having it sent elsewhere."""

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qs

from litestar.types import Scope

from freehold.auth.origins import TrustedOrigins
from freehold.http.auth_replies import Refusal
from freehold.http.headers import header

OriginFault = Literal["INVALID_ORIGIN", "MISSING_OR_NULL_ORIGIN"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MESSAGES: dict[OriginFault, str] = {
    "INVALID_ORIGIN": "Invalid origin",
    "MISSING_OR_NULL_ORIGIN": "Missing or null Origin",
}
_REDIRECTS = (
    ("callbackURL", "INVALID_CALLBACK_URL", "Invalid callbackURL"),
    ("redirectTo", "INVALID_REDIRECT_URL", "Invalid redirectURL"),
    ("errorCallbackURL", "INVALID_ERROR_CALLBACK_URL", "Invalid errorCallbackURL"),
    ("newUserCallbackURL", "INVALID_NEW_USER_CALLBACK_URL", "Invalid newUserCallbackURL"),
)


def origin_fault(scope: Scope, origins: TrustedOrigins) -> OriginFault | None:
    """What speaks against the page that sent this request."""
    origin = header(scope, b"origin")
    if origin == "null" and header(scope, b"sec-fetch-site") == "same-origin":
        return None  # a browser says so of a form on a page of ours that sends no referrer
    origin = origin or header(scope, b"referer")
    if not origin or origin == "null":
        return "MISSING_OR_NULL_ORIGIN"
    return None if origins.is_trusted(origin) else "INVALID_ORIGIN"


def refuse_strange_origin(scope: Scope, origins: TrustedOrigins, *, starts_session: bool = False) -> None:
    """The check of every `/api/auth` request that is no GET.

    A request with cookies must come from a trusted page. One that starts a session must do so without cookies too,
    if it comes from a browser: else a page could sign its visitor in to somebody else's account.

    Raises:
        Refusal: 403.
    """
    has_cookie = header(scope, b"cookie") is not None
    if not has_cookie and not (starts_session and _is_from_browser(scope)):
        return
    is_form_elsewhere = (
        header(scope, b"sec-fetch-site") == "cross-site" and header(scope, b"sec-fetch-mode") == "navigate"
    )
    if not has_cookie and is_form_elsewhere:
        raise Refusal(
            403,
            "CROSS_SITE_NAVIGATION_LOGIN_BLOCKED",
            "Cross-site navigation login blocked. This request appears to be a CSRF attack.",
        )
    if fault := origin_fault(scope, origins):
        raise Refusal(403, fault, _MESSAGES[fault])


def refuse_strange_redirects(scope: Scope, body: Any, origins: TrustedOrigins) -> None:
    """No redirect named in the body (nor `callbackURL` in the query) may leave what is trusted.

    Raises:
        Refusal: 403.
    """
    named: Mapping[str, Any] = body if isinstance(body, dict) else {}
    for field, code, message in _REDIRECTS:
        targets = [named.get(field)]
        if field == "callbackURL" and b"callbackURL" in scope["query_string"]:
            targets += parse_qs(scope["query_string"].decode("latin-1")).get(field, [])
        for target in targets:
            if isinstance(target, str) and target and not origins.is_safe_redirect(target):
                raise Refusal(403, code, message)


def _is_from_browser(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return not names.isdisjoint(
        {b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"}
    )
