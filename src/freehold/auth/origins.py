"""Decides which web origins may act for a signed-in user, and where a browser may be redirected."""

import re
from collections.abc import Iterable

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_ABSOLUTE = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]*)([^?#]*)", re.IGNORECASE)
# Browsers treat a backslash as a slash and drop control characters; `@` hides the real host.
_TRICKS = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_CLIMBS = re.compile(r"(?:\.|%2e){2}", re.IGNORECASE)  # `/cb/../evil` begins with `/cb` but is not below it
_ENCODED_SLASH = re.compile(r"%(2f|5c)", re.IGNORECASE)


class TrustedOrigins:
    """The server's own origin and those an operator added.

    An entry is an origin (`https://app.example.com`), a pattern with `*` and `?` for an origin or a host
    (`*.example.com`; `*` does not match a slash), or a prefix of URLs with an app's own scheme (`myapp://`).
    """

    def __init__(self, public_url: str, trusted: Iterable[str] = ()) -> None:
        self._exact = {_normal(public_url)}
        self._origin_patterns: list[re.Pattern[str]] = []
        self._host_patterns: list[re.Pattern[str]] = []
        self._app_links: list[re.Pattern[str]] = []
        for entry in trusted:
            self._add(entry.strip())

    def is_trusted(self, origin: str) -> bool:
        """Whether requests from this origin are trusted. Also takes a whole URL."""
        found = _ABSOLUTE.match(origin)
        if found is None or _TRICKS.search(origin) or "@" in found[2]:
            return False
        scheme, host = found[1].lower(), found[2].lower()
        whole = _normal(origin)
        if whole in self._exact:
            return True
        return (
            any(pattern.fullmatch(whole) for pattern in self._origin_patterns)
            or (scheme in _DEFAULT_PORTS and any(pattern.fullmatch(host) for pattern in self._host_patterns))
            or (not _CLIMBS.search(found[3]) and any(pattern.match(origin) for pattern in self._app_links))
        )

    def is_safe_redirect(self, url: str) -> bool:
        """Whether a browser may be redirected there: a path on this server, or a URL of a trusted origin."""
        if not url.startswith("/"):
            return self.is_trusted(url)
        path = url.split("?", 1)[0].split("#", 1)[0]
        return "//" not in path and not _TRICKS.search(url) and not _ENCODED_SLASH.search(path)

    def _add(self, entry: str) -> None:
        if entry.endswith(":"):
            entry += "//"  # a scheme without its slashes
        if "://" not in entry:
            self._host_patterns.append(_glob(entry.lower()))
        elif "*" in entry or "?" in entry:
            self._origin_patterns.append(_glob(entry.lower().rstrip("/")))
        elif entry.split("://")[0].lower() in _DEFAULT_PORTS:
            self._exact.add(_normal(entry))
        else:
            end = "" if entry.endswith("/") else r"(?=[/?#]|$)"
            self._app_links.append(re.compile(re.escape(entry) + end, re.IGNORECASE))


def _normal(origin: str) -> str:
    """The origin in lower case, without the scheme's default port and anything after the host."""
    found = _ABSOLUTE.match(origin.lower())
    if found is None:
        return ""
    return f"{found[1]}://{found[2].removesuffix(_DEFAULT_PORTS.get(found[1], ' '))}"


def _glob(pattern: str) -> re.Pattern[str]:
    """`**` matches anything, `*` anything without a slash, `?` one character that is not a slash."""
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    meanings = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meanings.get(part) or re.escape(part) for part in parts))
