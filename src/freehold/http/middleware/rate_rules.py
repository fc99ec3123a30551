"""Which rate a path has. Below `/api/auth` the row of its route says it, as better-auth's own rules do."""

from functools import lru_cache
from typing import Literal

from msgspec import Struct

from freehold.http.auth import form, table
from freehold.http.auth.route import RateName
from freehold.limiting import Rate
from freehold.settings.fields import Settings

_MAX_SEGMENTS, _MAX_LENGTH = 2, 60
_COSTLY = frozenset({"mail", "sign-in"})
_FREE = frozenset({"/health", "/ready", "/metrics"})

# What follows is a secret or a stranger's invention: neither may be a key, and guesses count together.
_OPEN_ENDED = frozenset(
    route.path.split("/")[1] for routes in table.ROUTES.values() for route in routes if "{" in route.path
)
# In front of the keys of what lies below: paths of better-auth are keys as they are.
_PREFIXES = {table.BASE_PATH: "", form.BASE_PATH: "/v1"}

Form = Literal["auth", "api", "database"]


class Rule(Struct, frozen=True):
    """A rate for one client address. `key` follows the address; `form` says how a refusal looks.

    `is_costly`: what it guards takes work, mail or guesses, so that whole sites are counted as well.
    """

    name: str
    rate: Rate
    key: str
    form: Form
    is_costly: bool = False

    @property
    def policy(self) -> str:
        """As in the header `RateLimit-Policy`."""
        return f'"{self.name}";q={self.rate.hits};w={self.rate.window_s}'


class Rules:
    """The rule of each path, by the settings."""

    def __init__(self, settings: Settings) -> None:
        self._rates: dict[RateName, Rate] = {
            "auth": settings.rate_limit_auth,
            "sign-in": settings.rate_limit_sign_in,
            "mail": settings.rate_limit_mail,
        }
        self.user = Rule("user", settings.rate_limit_api, "", "api")
        self._databases = Rule("databases", settings.rate_limit_databases, "/db", "database")
        self._api = Rule("api", settings.rate_limit_api_address, "/api", "api")
        self.of = lru_cache(2048)(self._of)

    def _of(self, path: str) -> Rule | None:
        path = "/" + "/".join(part for part in path.split("/") if part)
        if path in _FREE:
            return None
        if path == "/db" or path.startswith("/db/"):
            return self._databases
        for base, prefix in _PREFIXES.items():
            if path == base or path.startswith(base + "/"):
                key = _bounded(path.removeprefix(base))
                name = _NAMES.get((base, key), "auth")  # for what no route has, too
                return Rule(name, self._rates[name], prefix + key, "auth", is_costly=name in _COSTLY)
        return self._api


def _bounded(path: str) -> str:
    parts = path.split("/")[1:]
    kept = parts[:1] if parts[:1] and parts[0] in _OPEN_ENDED else parts[:_MAX_SEGMENTS]
    return "/" + "/".join(kept)[:_MAX_LENGTH]


_NAMES: dict[tuple[str, str], RateName] = {
    (base, _bounded(route.path)): route.rate for base, routes in table.ROUTES.items() for route in routes
}
