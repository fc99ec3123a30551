"""What all endpoints of `/api/auth` share: checking requests, identifying callers, replies with a session."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from litestar.types import Scope

from freehold.auth.service import Auth
from freehold.auth.sessions.cached_sessions import SessionData
from freehold.auth.types import Client, SignedIn
from freehold.errors import Unauthenticated
from freehold.http.auth import origin_check
from freehold.http.auth.bodies import Field, check, read_body
from freehold.http.auth.errors import BadField, SignedOut
from freehold.http.auth.replies import AuthReply, HeaderPairs, json_reply
from freehold.http.client_address import ClientAddresses
from freehold.http.headers import Asked, header, language_of, presented_by, tokens_in_cookies

TAKES_CROSS_SITE = "takes_cross_site"
"""Key in a route's `opt`: other sites may post to it, as it only redirects."""

# Lets pages read the token in a reply that starts or renews a session.
_EXPOSES_TOKEN: HeaderPairs = ((b"access-control-expose-headers", b"set-auth-token"),)


@dataclass(frozen=True, slots=True)
class AuthContext:
    """What the endpoints have in common; each class of endpoints holds one."""

    auth: Auth
    addresses: ClientAddresses
    data: SessionData | None = None  # the cookie cache

    async def accept(self, request: Asked, *, takes_forms: bool = False) -> Any:
        """The body of a request that passes the checks, which run in better-auth's order.

        Raises:
            FreeholdError: 400 or 415 for the body, 403 for its origin or a redirect.
        """
        body = await read_body(request, takes_forms=takes_forms)
        origin_check.refuse_strange_origin(request.scope, self.auth.origins)
        origin_check.refuse_strange_redirects(request.scope, body, self.auth.origins)
        return body

    def refuse_cross_site(self, request: Asked) -> None:
        """Run before every handler; see `origin_check`. Raises a refusal (403)."""
        if not request.route_handler.opt.get(TAKES_CROSS_SITE):
            origin_check.refuse_cross_site(request.scope, self.auth.origins)

    def may_start_session(self, scope: Scope) -> bool:
        """Whether a followed link may start a session: not if another site's page led the browser to it."""
        return not origin_check.is_cross_site(scope, self.auth.origins)

    def accept_link(self, request: Asked) -> None:
        """Check a GET that follows a link from a mail. Raises a refusal (403) if it leads to an untrusted origin."""
        origin_check.refuse_strange_redirects(request.scope, None, self.auth.origins)

    async def signed_in(self, scope: Scope, refusal: type[Unauthenticated] = SignedOut) -> SignedIn:
        """The signed-in caller. Raises this refusal (401) if nobody is signed in."""
        found = await self.maybe_signed_in(scope)
        if found is None:
            raise refusal
        return found

    async def asking(self, request: Asked, fields: Iterable[Field]) -> tuple[SignedIn, dict[str, Any]]:
        """The signed-in caller, and these fields of the body, which better-auth checks first.

        Raises as `accept`, `check` and `signed_in`.
        """
        values = check(await self.accept(request), fields)
        return await self.signed_in(request.scope), values

    async def maybe_signed_in(self, scope: Scope) -> SignedIn | None:
        """The signed-in caller, if any. Does not extend the session; only get-session does."""
        presented = presented_by(scope, self.auth.cookies)
        return None if presented is None else await self.auth.sessions.current(presented.token, extend=False)

    def source(self, scope: Scope) -> str:
        """The network that the request counts against, see `freehold.auth.places`."""
        return self.addresses.accountable(scope)

    async def client(self, scope: Scope) -> Client:
        """Where a sign-in comes from, as far as known, its guest, if any, and the sessions that it replaces.

        Those are the ones in cookies, which the new cookie overwrites; a guest's session ends with the guest. Clients
        that send bearer tokens may hold several sessions, and lose none.
        """
        in_cookies = [
            found
            for token in tokens_in_cookies(scope, self.auth.cookies)
            if (found := await self.auth.sessions.current(token, extend=False)) is not None
        ]
        found = await self.maybe_signed_in(scope)  # last, as the audit trail takes the session read last for the actor
        guest = found.user if found is not None and found.user.is_anonymous else None
        return Client(
            ip_address=self.addresses.of(scope),
            user_agent=header(scope, b"user-agent") or "",
            source=self.source(scope),
            language=language_of(scope),
            guest_id=guest.user_id if guest else "",
            replaces=tuple(each.session.token for each in in_cookies if not each.user.is_anonymous),
        )

    def session_started(
        self, signed_in: SignedIn, content: Any, headers: HeaderPairs = (), *, remember: bool = True
    ) -> AuthReply:
        """A reply that starts or renews a session: its cookie, and its token for clients that keep no cookies."""
        more, cookies = self.session_headers(signed_in.session.token, remember=remember)
        return json_reply(content, (*headers, *more), (*cookies, *self.data_cookies(signed_in, remember=remember)))

    def data_cookies(self, signed_in: SignedIn, *, remember: bool = True) -> tuple[str, ...]:
        """`Set-Cookie` values of the cookie cache, if there is one."""
        if self.data is None or signed_in.seen < 0:
            return ()
        return self.data.setting(signed_in, self.auth.clock(), is_remembered=remember)

    def session_kept(self, scope: Scope, signed_in: SignedIn, content: Any) -> AuthReply:
        """A reply that sends the request's session again, remembered or not, as before."""
        headers, cookies = self.session_headers_kept(scope, signed_in)
        return json_reply(content, headers, cookies)

    def session_headers_kept(self, scope: Scope, signed_in: SignedIn) -> tuple[HeaderPairs, tuple[str, ...]]:
        """Headers and `Set-Cookie` values that send the request's session again, remembered or not, as before."""
        presented = presented_by(scope, self.auth.cookies)
        is_remembered = presented is None or presented.is_remembered
        return self.session_headers(signed_in.session.token, remember=is_remembered)

    def session_headers(self, token: str, *, remember: bool = True) -> tuple[HeaderPairs, tuple[str, ...]]:
        """Headers and `Set-Cookie` values that give a session to the client."""
        cookies = self.auth.cookies
        bearer = (b"set-auth-token", cookies.sign(token).encode())
        return (bearer, *_EXPOSES_TOKEN), cookies.setting(token, is_remembered=remember)


def query_value(scope: Scope, name: str) -> str | None:
    """The last value of this name in the query, if any."""
    query = scope["query_string"]
    if name.encode() not in query:
        return None
    found = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(name)
    return found[-1] if found else None


def required_value(scope: Scope, name: str) -> str:
    """The same for a required value. Raises `BadField`."""
    found = query_value(scope, name)
    if found is None:
        raise BadField(f"[query.{name}] Invalid input: expected string, received undefined")
    return found
