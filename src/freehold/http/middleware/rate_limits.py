"""Rate limits around all routes: before a body is read, and long before a password waits to be hashed.

Each request counts for its client's address; where a user is known (`http/guards.py`) also for the user. Answers say
what is left in `RateLimit` and `RateLimit-Policy`, refusals when to come back in `Retry-After`.
Source of the headers: draft-ietf-httpapi-ratelimit-headers-10.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from freehold.http.auth.replies import too_many
from freehold.http.client_address import ClientAddresses
from freehold.http.middleware.rate_rules import Form, Rule, Rules
from freehold.limiting import Limiter, RateLimited, Verdict, hit_from

_NOTE = "freehold_limits"


class RateLimits:
    """ASGI wrapper. `on_refused` is told the name of the rate that was exceeded."""

    def __init__(
        self,
        app: ASGIApp,
        limiter: Limiter,
        rules: Rules,
        addresses: ClientAddresses,
        on_refused: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._rules = rules
        self._addresses = addresses
        self._on_refused = on_refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or (rule := self._rules.of(scope["path"])) is None:
            await self._app(scope, receive, send)
            return
        counted = _Counted(self._limiter, self._rules.user, self._on_refused)

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *counted.headers()]
            await send(message)

        try:
            await counted.hit_network(self._addresses.accountable(scope), rule)
        except RateLimited as refusal:
            await _refuse(rule.form, refusal, scope, receive, send_told)
            return
        if rule.form == "api":
            extra: dict[str, Any] = scope  # type: ignore[assignment]  # ASGI lets servers add keys of their own
            extra[_NOTE] = counted
        await self._app(scope, receive, send_told if counted.verdicts or rule.form == "api" else send)


class _Counted:
    """What one request was counted for."""

    __slots__ = ("_has_user", "_limiter", "_on_refused", "_user", "verdicts")

    def __init__(self, limiter: Limiter, user: Rule, on_refused: Callable[[str], None]) -> None:
        self._limiter = limiter
        self._user = user
        self._on_refused = on_refused
        self._has_user = False
        self.verdicts: list[tuple[Rule, Verdict]] = []

    async def hit_network(self, network: str, rule: Rule) -> None:
        if rule.rate.is_off:
            return
        if rule.is_costly:
            self._note(rule, await hit_from(self._limiter, network, rule.key, rule.rate))
        else:
            self._note(rule, await self._limiter.hit(f"{network}|{rule.key}", rule.rate))

    async def hit_user(self, user_id: str) -> None:
        if not self._has_user and not self._user.rate.is_off:
            self._has_user = True
            key = f"{user_id}|{self._user.name}"
            self._note(self._user, await self._limiter.hit(key, self._user.rate))

    def _note(self, rule: Rule, verdict: Verdict) -> None:
        self.verdicts.append((rule, verdict))
        if not verdict.is_allowed:
            self._on_refused(rule.name)
            raise RateLimited(verdict.reset_s)

    def headers(self) -> list[tuple[bytes, bytes]]:
        if not self.verdicts:
            return []
        left = ", ".join(f'"{rule.name}";r={told.remaining};t={told.reset_s}' for rule, told in self.verdicts)
        policy = ", ".join(rule.policy for rule, _ in self.verdicts)
        return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]


async def count_user(scope: Scope, user_id: str) -> None:
    """Count the request for its user, once; nothing happens where there are no limits.

    Raises:
        RateLimited: too many requests of this user.
    """
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
