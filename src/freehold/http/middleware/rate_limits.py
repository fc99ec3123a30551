"""Rate limits: which rate a path has, and the counting around all routes.

Requests are counted before a body is read, and long before a password is hashed: for their client's address and, where
it is known (`http/guards.py`), for their user. Responses say what is left in `RateLimit` and `RateLimit-Policy`,
refusals when to retry in `Retry-After`. Source of the headers: draft-ietf-httpapi-ratelimit-headers-10.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from msgspec import Struct

from freehold.errors import RateLimited
from freehold.http.auth import form, table
from freehold.http.auth.replies import too_many
from freehold.http.auth.route import RateName
from freehold.http.client_address import ClientAddresses
from freehold.limiting import Limiter, Rate, Verdict, hit_from
from freehold.settings.fields import Settings

# Which rate a path has. Below `/api/auth` it is in the route's row, like better-auth's own rules.

_MAX_SEGMENTS, _MAX_LENGTH = 2, 60
_COSTLY = frozenset({"mail", "sign-in"})
_FREE = frozenset({"/health", "/ready", "/metrics"})

# What follows is a secret or made up by a client: it must not be in a key, and guesses count together.
_OPEN_ENDED = frozenset(
    route.path.split("/")[1] for routes in table.ROUTES.values() for route in routes if "{" in route.path
)
# Prefixes of the keys of these paths; better-auth's paths are keys as they are.
_PREFIXES = {table.BASE_PATH: "", form.BASE_PATH: "/v1"}

Form = Literal["auth", "api", "database"]


class Rule(Struct, frozen=True):
    """A rate for one client address. `key` follows the address; `form` is the form of a refusal.

    `is_costly`: the route costs work or mail, or allows guesses, so whole sites are counted as well.
    """

    name: str
    rate: Rate
    key: str
    form: Form
    is_costly: bool = False

    @property
    def policy(self) -> str:
        """The value for the header `RateLimit-Policy`."""
        return f'"{self.name}";q={self.rate.hits};w={self.rate.window_s}'


class Rules:
    """The rule of each path, from the settings."""

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
                name = _NAMES.get((base, key), "auth")  # also for paths without a route
                return Rule(name, self._rates[name], prefix + key, "auth", is_costly=name in _COSTLY)
        return self._api


def _bounded(path: str) -> str:
    parts = path.split("/")[1:]
    kept = parts[:1] if parts[:1] and parts[0] in _OPEN_ENDED else parts[:_MAX_SEGMENTS]
    return "/" + "/".join(kept)[:_MAX_LENGTH]


_NAMES: dict[tuple[str, str], RateName] = {
    (base, _bounded(route.path)): route.rate for base, routes in table.ROUTES.items() for route in routes
}


_NOTE = "freehold_limits"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """ASGI wrapper. `on_refused` is called with the name of the rate that was exceeded."""

    app: ASGIApp
    limiter: Limiter
    rules: Rules
    addresses: ClientAddresses
    on_refused: Callable[[str], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or (rule := self.rules.of(scope["path"])) is None:
            await self.app(scope, receive, send)
            return
        counted = _Counted(self.limiter, self.rules.user, self.on_refused)

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *counted.headers()]
            await send(message)

        try:
            await counted.hit_network(self.addresses.accountable(scope), rule)
        except RateLimited as refusal:
            await _refuse(rule.form, refusal, scope, receive, send_told)
            return
        if rule.form == "api":
            extra: dict[str, Any] = scope  # type: ignore[assignment]  # ASGI lets servers add keys of their own
            extra[_NOTE] = counted
        await self.app(scope, receive, send_told if counted.verdicts or rule.form == "api" else send)


@dataclass(slots=True)
class _Counted:
    """What one request counted for."""

    limiter: Limiter
    user: Rule
    on_refused: Callable[[str], None]
    has_user: bool = False
    verdicts: list[tuple[Rule, Verdict]] = field(default_factory=list)

    async def hit_network(self, network: str, rule: Rule) -> None:
        if rule.rate.is_off:
            return
        if rule.is_costly:
            self._note(rule, await hit_from(self.limiter, network, rule.key, rule.rate))
        else:
            self._note(rule, await self.limiter.hit(f"{network}|{rule.key}", rule.rate))

    async def hit_user(self, user_id: str) -> None:
        if not self.has_user and not self.user.rate.is_off:
            self.has_user = True
            key = f"{user_id}|{self.user.name}"
            self._note(self.user, await self.limiter.hit(key, self.user.rate))

    def _note(self, rule: Rule, verdict: Verdict) -> None:
        self.verdicts.append((rule, verdict))
        if not verdict.is_allowed:
            self.on_refused(rule.name)
            raise RateLimited(verdict.reset_s)

    def headers(self) -> list[tuple[bytes, bytes]]:
        if not self.verdicts:
            return []
        left = ", ".join(f'"{rule.name}";r={told.remaining};t={told.reset_s}' for rule, told in self.verdicts)
        policy = ", ".join(rule.policy for rule, _ in self.verdicts)
        return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]


async def count_user(scope: Scope, user_id: str) -> None:
    """Count the request for its user, once, if there are limits. Raises `RateLimited`."""
    counted: Any = scope.get(_NOTE)
    if counted is not None:
        await counted.hit_user(user_id)


async def _refuse(form: Form, refusal: RateLimited, scope: HTTPScope, receive: Receive, send: Send) -> None:
    if form == "auth":
        await too_many(refusal.retry_after_s)(scope, receive, send)
        return
    body: dict[str, Any] = {"message": str(refusal), "code": refusal.code.upper()}
    content_type = b"application/json"
    if form == "api":
        content_type = b"application/problem+json"
        body = {
            "type": "about:blank",
            "title": "Too Many Requests",
            "status": 429,
            "code": refusal.code,
            "detail": str(refusal),
        }
    encoded = msgspec.json.encode(body)
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(encoded)),
        (b"retry-after", b"%d" % refusal.retry_after_s),
    ]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": encoded, "more_body": False})
