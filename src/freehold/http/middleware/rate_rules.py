"""Which rate a path has. Below `/api/auth` they are better-auth's own."""

from functools import lru_cache
from typing import Literal

from msgspec import Struct

from freehold.limiting import Rate
from freehold.settings.fields import Settings

_AUTH = "/api/auth"
_FORMS = "/api/v1/auth"
_SIGN_IN = ("/sign-in", "/sign-up", "/change-password", "/change-email", "/login", "/register", "/signup")
_MAIL_BELOW = "/forget-password"
_MAIL = frozenset(
    {
        "/request-password-reset",
        "/send-verification-email",
        "/sign-in/email-otp",
        "/email-otp/send-verification-otp",
        "/email-otp/check-verification-otp",
        "/email-otp/verify-email",
        "/email-otp/request-password-reset",
        "/email-otp/reset-password",
        "/email-otp/request-email-change",
        "/email-otp/change-email",
    }
)
# What follows is a secret or a stranger's invention: neither may be a key, and guesses count together.
_OPEN_ENDED = frozenset({"reset-password", "callback"})
_MAX_SEGMENTS, _MAX_LENGTH = 2, 60
_COSTLY = frozenset({"mail", "sign-in"})
_FREE = frozenset({"/health", "/ready", "/metrics"})

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
        self._settings = settings
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
        for base, prefix in ((_AUTH, ""), (_FORMS, "/v1")):
            if path == base or path.startswith(base + "/"):
                return self._auth(path.removeprefix(base), prefix)
        return self._api

    def _auth(self, path: str, prefix: str) -> Rule:
        name, rate = self._rate(path)
        return Rule(name, rate, prefix + _bounded(path), "auth", is_costly=name in _COSTLY)

    def _rate(self, path: str) -> tuple[str, Rate]:
        if path in _MAIL or path.startswith(_MAIL_BELOW):
            return "mail", self._settings.rate_limit_mail
        if path.startswith(_SIGN_IN):
            return "sign-in", self._settings.rate_limit_sign_in
        return "auth", self._settings.rate_limit_auth


def _bounded(path: str) -> str:
    parts = path.split("/")[1:]
    kept = parts[:1] if parts[:1] and parts[0] in _OPEN_ENDED else parts[:_MAX_SEGMENTS]
    return "/" + "/".join(kept)[:_MAX_LENGTH]
