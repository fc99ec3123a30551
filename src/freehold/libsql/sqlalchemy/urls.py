"""Database URLs in SQLAlchemy's form."""

from typing import Any

from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError

from freehold.libsql.errors import LibsqlError
from freehold.libsql.urls import FileUrl, parse_url

DRIVER = "sqlite+hrana"
_BEGIN = {"deferred": "BEGIN", "immediate": "BEGIN IMMEDIATE"}


def engine_url(url: str, *, auth_token: str | None = None) -> URL:
    """The URL for `create_async_engine` of a `libsql://`, `https://` or `http://` one; `file:` becomes aiosqlite's.

    Raises:
        LibsqlError: the URL cannot be used.
    """
    place = parse_url(url, token=auth_token)
    if isinstance(place, FileUrl):
        return URL.create("sqlite+aiosqlite", database=str(place.path))
    scheme, _, rest = place.base.partition("://")
    authority, _, path = rest.partition("/")
    host, port = _host_and_port(authority)
    query = {"secure": "true" if scheme == "https" else "false"}
    if place.namespace is not None:
        query["namespace"] = place.namespace
    # The name is empty, not None: SQLAlchemy writes no password without one.
    name = None if place.token is None else ""
    return URL.create(DRIVER, name, place.token, host, port, path.rstrip("/") or None, query)


def connect_arguments(url: URL) -> dict[str, Any]:
    """The arguments of `HranaDbapi.connect` in a URL `sqlite+hrana://:token@host:port/path?secure=true`.

    Raises:
        ArgumentError: a part of it is missing, unknown or invalid.
    """
    if not url.host:
        raise ArgumentError(f"{DRIVER} needs a host; for a file use sqlite+aiosqlite:///path")
    if url.username:
        raise ArgumentError(f"write the token where the password stands, {DRIVER}://:token@host: it is not shown there")
    options: dict[str, Any] = {}
    secure = True
    for name, value in url.normalized_query.items():
        text = value[-1]
        match name:
            case "secure":
                secure = _flag(name, text)
            case "namespace":
                options["namespace"] = text
            case "timeout_s" | "missing_grace_s" | "busy_timeout_s":
                options[name] = _seconds(name, text)
            case "begin" if text in _BEGIN:
                options["begin"] = _BEGIN[text]
            case _:
                raise ArgumentError(f"{DRIVER}: the URL parameter {name} is unknown or has no such value")
    host = f"[{url.host}]" if ":" in url.host else url.host
    port = f":{url.port}" if url.port else ""
    path = f"{url.database.strip('/')}/" if url.database else ""
    options["base"] = f"{'https' if secure else 'http'}://{host}{port}/{path}"
    if url.password:
        options["auth_token"] = str(url.password)
    return options


def _flag(name: str, text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0"}:
        raise ArgumentError(f"{DRIVER}: the URL parameter {name} is true or false")
    return text.lower() in {"true", "1"}


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ArgumentError(f"{DRIVER}: the URL parameter {name} is a number of seconds")
    return value


def _host_and_port(authority: str) -> tuple[str, int | None]:
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        return authority.strip("[]"), None
    if not port.isdigit():
        raise LibsqlError("the database URL cannot be read", "URL_INVALID")
    return host.strip("[]"), int(port)
