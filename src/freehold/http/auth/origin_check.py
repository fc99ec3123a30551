"""Stops other websites from acting through a visitor's browser (CSRF), and from redirecting it elsewhere."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from litestar.types import Scope

from freehold.auth.origins import TrustedOrigins
from freehold.errors import Forbidden, FreeholdError
from freehold.http.auth import errors
from freehold.http.headers import header
from freehold.http.page_origins import hint_for_origin

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_FROM_BROWSERS = frozenset({b"origin", b"referer", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"})
_REDIRECTS: dict[str, type[FreeholdError]] = {
    "callbackURL": errors.BadCallbackUrl,
    "redirectTo": errors.BadRedirectUrl,
    "errorCallbackURL": errors.BadErrorCallbackUrl,
    "newUserCallbackURL": errors.BadNewUserCallbackUrl,
}


def origin_fault(scope: Scope, origins: TrustedOrigins) -> Forbidden | None:
    """The refusal if the page that sent this request is not trusted."""
    if is_own_form(scope):
        return None
    origin = header(scope, b"origin") or header(scope, b"referer")
    if not origin or origin == "null":
        return errors.MissingOrigin()
    if origins.is_trusted(origin):
        return None
    hint = hint_for_origin(header(scope, b"origin") or "")
    return errors.InvalidOrigin(f"{errors.InvalidOrigin.message}: {hint}" if hint else "")


def is_own_form(scope: Scope) -> bool:
    """Whether the origin is `null` but ours: browsers send that for a form on a page of ours that sends no referrer."""
    return header(scope, b"origin") == "null" and header(scope, b"sec-fetch-site") == "same-origin"


def refuse_strange_origin(scope: Scope, origins: TrustedOrigins) -> None:
    """Require a trusted page for a request with cookies; not meant for GET. Raises a refusal (403)."""
    if header(scope, b"cookie") is not None and (fault := origin_fault(scope, origins)):
        raise fault


def refuse_cross_site(scope: Scope, origins: TrustedOrigins) -> None:
    """Require a trusted page for browsers' requests without cookies, too, except GET. Raises a refusal (403).

    Otherwise a page could sign its visitor in to someone else's account, or fill our disk through its visitors: nearly
    all of these routes can start a session. It runs before every handler, so that no route can forget it.
    """
    if scope.get("method") in SAFE_METHODS or header(scope, b"cookie") is not None:
        return  # with cookies, this is checked after the body, as in better-auth
    if _FROM_BROWSERS.isdisjoint(name for name, _ in scope["headers"]):
        return
    if header(scope, b"sec-fetch-site") == "cross-site" and header(scope, b"sec-fetch-mode") == "navigate":
        raise errors.CrossSiteForm
    if fault := origin_fault(scope, origins):
        raise fault


def refuse_strange_redirects(scope: Scope, body: Any, origins: TrustedOrigins) -> None:
    """Refuse (403) redirects in the body, or `callbackURL` in the query, that lead to an untrusted origin."""
    named: Mapping[str, Any] = body if isinstance(body, dict) else {}
    for field, refusal in _REDIRECTS.items():
        targets = [named.get(field)]
        if field == "callbackURL" and b"callbackURL" in scope["query_string"]:
            targets += parse_qs(scope["query_string"].decode("latin-1")).get(field, [])
        for target in targets:
            if isinstance(target, str) and target and not origins.is_safe_redirect(target):
                raise refusal


def is_cross_site(scope: Scope, origins: TrustedOrigins) -> bool:
    """Whether the browser says that another site's page led it here, by a link, a redirect or an image."""
    if header(scope, b"sec-fetch-site") in {"cross-site", "same-site"}:
        return True
    sender = header(scope, b"origin") or header(scope, b"referer")
    return sender is not None and not origins.is_trusted(sender)
