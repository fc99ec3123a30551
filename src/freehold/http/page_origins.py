"""Explains in the log, and in error responses, why calls from a page do not work.

Without this, a developer sees a 401 or 403 in the browser and nothing about the setting that is missing.
"""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from litestar.types import Scope

from freehold.http.headers import API_KEY_HEADER, header
from freehold.log import get_logger
from freehold.lru import Lru

log = get_logger()

# One line per origin in that time, and ten a minute in all: made-up origins must not fill the log.
_AGAIN_S = 600.0
_LINES, _LINES_S = 10, 60.0
_REMEMBERED = 200
_SHOWN = 200
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


def hint_for_cookies(scope: Scope) -> str | None:
    """Why a browser keeps none of our cookies for the calling page; None if it seems to keep them.

    Our cookies are `SameSite=Lax`: pages of other sites neither get nor send them. Source: RFC 6265bis, 5.2.
    """
    origin = header(scope, b"origin")
    if origin is None or origin == "null":
        return None
    called = (header(scope, b"host") or "").lower()
    page, service = _host(origin), _host(f"//{called}")
    if page == service:
        return None
    if page in _THIS_MACHINE and service in _THIS_MACHINE:
        name = f"[{page}]" if ":" in page else page
        port = called.rpartition(":")[2]
        better = f"http://{name}:{port}" if port.isdecimal() else f"http://{name}"
        return (
            f"the page is on {page} and calls {service}, which are different sites for a browser, so that it keeps no"
            f" cookie; call {better} from it, or send the token from signing in as a bearer token"
        )
    if header(scope, b"sec-fetch-site") == "cross-site":
        return (
            "the page is on another site than this service, so that the browser keeps no cookie; have both below one"
            " domain, or send the token from signing in as a bearer token"
        )
    return None


def hint_for_origin(origin: str) -> str | None:
    """The hint about an untrusted origin on this machine, which only a developer has; None for others."""
    return f"{origin[:_SHOWN]} is not in TRUSTED_ORIGINS" if _host(origin) in _THIS_MACHINE else None


def hint_for_refusal(scope: Scope) -> str | None:
    """`hint_for_cookies` for a request that brought no credentials at all."""
    for name in (b"authorization", API_KEY_HEADER):
        if header(scope, name) is not None:
            return None
    return hint_for_cookies(scope)


class PageOrigins:
    """Warns operators of pages whose calls do not work, at a limited rate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: Lru[tuple[str, str], float] = Lru(_REMEMBERED)
        self._since, self._lines = clock(), 0

    def not_trusted(self, scope: Scope, origin: str) -> None:
        """Warn that pages of this origin are refused and cannot read responses."""
        if not self._may_tell("origin.not_trusted", origin):
            return
        if origin == "null":
            hint = "a page that was opened from a file has no origin; serve it over HTTP"
        elif _netloc(origin) == (header(scope, b"host") or "").lower():
            hint = "it is this service's own address, under another name than BETTER_AUTH_URL says"
        else:
            hint = "if it is a front end of yours, add it to TRUSTED_ORIGINS"
        log.warning("origin.not_trusted", origin=origin[:_SHOWN], hint=hint)

    def cookie_set(self, scope: Scope, origin: str) -> None:
        """Warn if a trusted page was sent a cookie that its browser does not keep."""
        hint = hint_for_cookies(scope)
        if hint is not None and self._may_tell("cookie.not_kept", origin):
            log.warning("cookie.not_kept", origin=origin[:_SHOWN], hint=hint)

    def _may_tell(self, event: str, origin: str) -> bool:
        now = self._clock()
        key = (event, origin[:_SHOWN])
        if self._told.get(key, float("-inf")) > now - _AGAIN_S:
            return False
        if now - self._since > _LINES_S:
            self._since, self._lines = now, 0
        if self._lines >= _LINES:
            return False
        self._lines += 1
        self._told[key] = now
        return True


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _netloc(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
