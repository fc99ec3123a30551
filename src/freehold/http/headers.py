"""Request headers straight from the ASGI scope: the hot paths need two of them and no objects."""

import re
from typing import Any, get_args

from litestar import Request
from litestar.types import Scope

from freehold.auth.outgoing_email import Language
from freehold.auth.sessions.cookies import Presented, SessionCookies

Asked = Request[Any, Any, Any]
"""A request; the framework's types for its user, token and state are not used."""

API_KEY_HEADER = b"x-api-key"

_LANGUAGES: dict[str, Language] = {language: language for language in get_args(Language)}
_RANGE = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]{1,40})?\s*(?:;\s*q=([01](?:\.\d{0,3})?)\s*)?")
_MAX_RANGES = 20


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of this (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def presented_by(scope: Scope, cookies: SessionCookies, *, takes_form_cookie: bool = False) -> Presented | None:
    """The session token that the request carries; `takes_form_cookie` accepts `session_id` as well."""
    authorization, sent = _credentials(scope)
    if authorization is None and sent is None:
        return None
    return cookies.presented(authorization, sent, takes_form_cookie=takes_form_cookie)


def tokens_in_cookies(scope: Scope, cookies: SessionCookies) -> list[str]:
    """All session tokens in the request's cookies, each once."""
    _, sent = _credentials(scope)
    return [] if sent is None else cookies.all_in(sent)


def _credentials(scope: Scope) -> tuple[str | None, str | None]:
    authorization: str | None = None
    sent: str | None = None
    for key, value in scope["headers"]:
        if key == b"cookie":
            text = value.decode("latin-1")
            sent = text if sent is None else f"{sent}; {text}"
        elif key == b"authorization":
            authorization = value.decode("latin-1")
    return authorization, sent


def access_token_of(scope: Scope) -> str | None:
    """The bearer token that the request carries, if it has the form of a JWT, which a session's token never has."""
    scheme, _, text = (header(scope, b"authorization") or "").strip().partition(" ")
    text = text.strip()
    return text if scheme.lower() == "bearer" and text.count(".") == 2 else None


def language_of(scope: Scope) -> Language:
    """The language we write in that the reader prefers; English if there is none or the header is malformed.

    Source: RFC 9110, section 12.5.4.
    """
    best: Language = "en"
    best_weight = 0.0
    for part in (header(scope, b"accept-language") or "").split(",")[:_MAX_RANGES]:
        found = _RANGE.fullmatch(part)
        if found is None:
            continue
        weight = float(found[2] or 1)
        # The first of equal weight wins. `*` leaves the choice to us: English.
        language = "en" if found[1] == "*" else found[1].lower()
        if language in _LANGUAGES and weight > best_weight:
            best, best_weight = _LANGUAGES[language], weight
    return best
