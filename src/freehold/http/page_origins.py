"""Pages that call from where it cannot work: reported in the log, and in the answers that fail.

A developer sees a 403 or a 401 in the browser, and nothing there says what the service would need.
"""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from litestar.types import Scope

from freehold.http.headers import API_KEY_HEADER, header
from freehold.log import get_logger
from freehold.lru import Lru

log = get_logger()

# One line for each origin in that time, and ten a minute in all: made-up origins do not fill the log.
_AGAIN_S = 600.0
_LINES, _LINES_S = 10, 60.0
_REMEMBERED = 200
_SHOWN = 200
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


def hint_for_cookies(scope: Scope) -> str | None:
    """Why a browser keeps no cookie of this service for the page that calls; None if it does, as far as can be seen.

    Our cookies are `SameSite=Lax`: a page of another site neither gets nor sends them. Source: RFC 6265bis, 5.2.
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
            f" cookie; call {better} from it, or send the token that signing in gave as a bearer token"
        )
    if header(scope, b"sec-fetch-site") == "cross-site":
        return (
            "the page is on another site than this service, so that the browser keeps no cookie; have both below one"
            " domain, or send the token that signing in gave as a bearer token"
        )
    return None


def hint_for_origin(origin: str) -> str | None:
    """What to say of an origin on this very machine that is not trusted: only a developer has one."""
    return f"{origin[:_SHOWN]} is not in TRUSTED_ORIGINS" if _host(origin) in _THIS_MACHINE else None


def hint_for_refusal(scope: Scope) -> str | None:
    """`hint_for_cookies` for a request that brought no credentials at all."""
    for name in (b"authorization", API_KEY_HEADER):
        if header(scope, name) is not None:
            return None
    return hint_for_cookies(scope)


class PageOrigins:
    """Tells an operator of pages that call in vain, now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: Lru[tuple[str, str], float] = Lru(_REMEMBERED)
        self._since, self._lines = clock(), 0

    def not_trusted(self, scope: Scope, origin: str) -> None:
        """A page of this origin is not let in, nor may it read an answer."""
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
        """A page that may call got a cookie."""
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
