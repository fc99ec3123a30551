"""Request headers straight from the ASGI scope: the hot paths need two of them and no objects."""

from litestar.types import Scope

from freehold.auth.cookies import Presented, SessionCookies


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of this (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def presented_by(scope: Scope, cookies: SessionCookies) -> Presented | None:
    """The session token that the request carries."""
    authorization: str | None = None
    sent: str | None = None
    for key, value in scope["headers"]:
        if key == b"cookie":
            text = value.decode("latin-1")
            sent = text if sent is None else f"{sent}; {text}"
        elif key == b"authorization":
            authorization = value.decode("latin-1")
    if authorization is None and sent is None:
        return None
    return cookies.presented(authorization, sent)
