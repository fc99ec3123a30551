"""Reads database URLs: `libsql:`, `https:`, `http:`, `wss:`, `ws:` and `file:`."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from freehold.libsql.errors import LibsqlError

_HTTP = {"libsql": None, "https": True, "wss": True, "http": False, "ws": False}


@dataclass(frozen=True, slots=True)
class RemoteUrl:
    """A database behind HTTP. `base` ends in `/`; `namespace` is sent in a header, where the host does not name it."""

    base: str
    token: str | None = field(default=None, repr=False)
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class FileUrl:
    """A database in a local file."""

    path: Path


def parse_url(url: str, *, token: str | None = None, tls: bool | None = None) -> RemoteUrl | FileUrl:
    """Parse a database URL. `?authToken=`, `?tls=0|1` and `?namespace=` in it override the arguments.

    Raises:
        LibsqlError: it cannot be used; the message never contains the URL, which may contain a token.
    """
    if not url:
        raise LibsqlError("the database URL is empty", "URL_UNDEFINED")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise LibsqlError("the database URL cannot be read", "URL_INVALID") from None
    if parts.fragment:
        raise LibsqlError("a database URL has no `#` part", "URL_INVALID")
    if parts.scheme == "file":
        return _file(parts)
    if parts.scheme not in _HTTP:
        raise LibsqlError(f"unsupported URL scheme `{parts.scheme}`", "URL_SCHEME_NOT_SUPPORTED")
    if not parts.hostname:
        raise LibsqlError("the database URL names no host", "URL_INVALID")
    if "@" in parts.netloc:
        raise LibsqlError("pass the token as `auth_token`, not before the host's name", "URL_INVALID")
    options = _options(parts)
    return RemoteUrl(
        base=f"{_scheme(parts.scheme, options.get('tls', tls), port)}://{parts.netloc}{parts.path.rstrip('/')}/",
        token=str(options["authToken"]) if "authToken" in options else token,
        namespace=str(options["namespace"]) if "namespace" in options else None,
    )


def http_url(url: str) -> str:
    """The HTTP address of a remote database URL, ending in `/`. Raises `LibsqlError` as `parse_url` does."""
    place = parse_url(url)
    if isinstance(place, FileUrl):
        raise LibsqlError("the database URL leads to a file", "URL_INVALID")
    return place.base


def _file(parts: SplitResult) -> FileUrl:
    if parts.netloc not in {"", "localhost"}:
        raise LibsqlError("a `file:` URL names no host; for a path write file:/path", "URL_INVALID")
    if parts.query:
        raise LibsqlError("a `file:` URL has no parameters", "URL_PARAM_NOT_SUPPORTED")
    path = unquote(parts.path)
    if not path or path == ":memory:" or "\0" in path:
        raise LibsqlError("a `file:` URL needs the path of a file", "URL_INVALID")
    return FileUrl(Path(path))


def _options(parts: SplitResult) -> dict[str, str | bool]:
    options: dict[str, str | bool] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "tls" and value not in {"0", "1"}:
            raise LibsqlError("the URL parameter `tls` is 0 or 1", "URL_INVALID")
        if name not in {"tls", "authToken", "namespace"}:
            raise LibsqlError(f"unknown URL parameter `{name}`", "URL_PARAM_NOT_SUPPORTED")
        if value:
            options[name] = value == "1" if name == "tls" else value
    return options


def _scheme(scheme: str, tls: str | bool | None, port: int | None) -> str:
    wanted = _HTTP[scheme]
    if wanted is None:
        if tls is False and port is None:
            raise LibsqlError("a `libsql:` URL without TLS must name its port", "URL_INVALID")
        return "http" if tls is False else "https"
    if tls is not None and tls is not wanted:
        say = "without" if wanted else "with"
        raise LibsqlError(f"a `{scheme}:` URL cannot be used {say} TLS", "URL_INVALID")
    return "https" if wanted else "http"
