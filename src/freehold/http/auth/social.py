"""`/api/auth`: sign-in with GitHub, Google or any OpenID Connect issuer, in better-auth's wire format."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import msgspec

from freehold.auth.errors import AccountNotFound
from freehold.auth.social.errors import UnknownProvider
from freehold.auth.social.service import Social
from freehold.auth.social.types import Arrival, Redirects, Returned
from freehold.auth.types import SignedIn
from freehold.http.auth.answers import UnlinkedReply
from freehold.http.auth.bodies import Field, check, optional, read_body
from freehold.http.auth.context import AuthContext, query_value
from freehold.http.auth.errors import NoIdTokens, NoProviderAccessToken, NoProviderRefreshToken, NoProviderToken
from freehold.http.auth.replies import AuthReply, HeaderPairs, json_reply, redirect
from freehold.http.auth.route import Doc, Route
from freehold.http.headers import Asked, header

_FIELDS = (
    Field("provider"),
    optional("callbackURL"),
    optional("newUserCallbackURL"),
    optional("errorCallbackURL"),
    optional("loginHint"),
    optional("disableRedirect", "boolean"),
    optional("requestSignUp", "boolean"),
)
_ACCOUNT_FIELDS = (Field("accountId"),)
_RETURNED = ("state", "code", "error", "iss")
_CALLBACK_QUERY = tuple(optional(name) for name in _RETURNED)
_ERROR_QUERY = (optional("error"),)
_MAX_RETURNED_CHARS = 4_096
_TEXT: HeaderPairs = ((b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"))


class SocialReply(msgspec.Struct, frozen=True):
    """Send the browser to `url`; better-auth's client does so by itself when `redirect` is true."""

    url: str
    redirect: bool


@dataclass(frozen=True, slots=True)
class SocialEndpoints:
    """The way to a provider and back, and users' accounts at providers."""

    edge: AuthContext
    social: Social

    async def sign_in_social(self, request: Asked) -> AuthReply:
        """Return the URL for signing in with `provider`, which sends the browser back to `callbackURL`."""
        body = await self.edge.accept(request)
        values = check(body, _FIELDS)
        self._refuse_id_token(body, values["provider"])
        client = await self.edge.client(request.scope)
        return await self._start(values, guest_id=client.guest_id)

    async def link_social(self, request: Asked) -> AuthReply:
        """Return the URL for linking `provider` to the caller's account; both must have the same e-mail address."""
        body = await self.edge.accept(request)
        values = check(body, _FIELDS)
        asking = await self.edge.signed_in(request.scope)
        self._refuse_id_token(body, values["provider"])
        return await self._start(values, link_user_id=asking.user_id)

    async def callback(self, request: Asked) -> AuthReply:
        """The target of a provider's redirect; sends the browser on to the app, with a session or with `?error=`."""
        scope = request.scope
        sent = _once(scope["query_string"].decode("latin-1"))
        if sent is None:
            return redirect(f"{self.social.base_url}/error?error=invalid_callback_request")
        returned = Returned(state=sent["state"], code=sent["code"], error=sent["error"], issuer=sent["iss"])
        cookies = header(scope, b"cookie")
        arrival = await self.social.finish(
            request.path_params["provider_id"],
            returned,
            self.edge.auth.cookies.state_in(cookies) if cookies else None,
            await self.edge.client(scope),
            await self.edge.maybe_signed_in(scope),
        )
        return self._arrived(arrival)

    async def posted_callback(self, request: Asked) -> AuthReply:
        # A form from another site carries none of our cookies; the browser's own GET after the redirect does.
        body = await read_body(request, takes_forms=True)
        sent = body if isinstance(body, dict) else {}
        kept = {name: value for name in _RETURNED if isinstance(value := sent.get(name), str)}
        provider = quote(request.path_params["provider_id"], safe="")
        return redirect(f"{self.social.base_url}/callback/{provider}?{urlencode(kept)}")

    async def error_page(self, request: Asked) -> AuthReply:
        """The error page if the app has named none of its own."""
        code = parse_qs(request.scope["query_string"].decode("latin-1")).get("error", [""])[-1]
        shown = "".join(letter for letter in code[:64] if letter.isascii() and (letter.isalnum() or letter in "_-."))
        text = f"Signing in did not work ({shown or 'unknown'}). Go back to the app and try again.\n"
        return AuthReply(text.encode(), headers=_TEXT)

    def _refuse_id_token(self, body: Any, provider_id: str) -> None:
        if isinstance(body, dict) and body.get("idToken") and provider_id in self.social.providers:
            raise NoIdTokens

    async def _start(self, values: dict[str, Any], **whose: str) -> AuthReply:
        redirects = Redirects(
            callback_url=values.get("callbackURL", ""),
            error_url=values.get("errorCallbackURL", ""),
            new_user_url=values.get("newUserCallbackURL", ""),
        )
        hint = values.get("loginHint", "")
        started = await self.social.start(values["provider"], redirects, login_hint=hint, **whose)
        leads = not values.get("disableRedirect", False)
        headers: HeaderPairs = ((b"location", started.url.encode()),) if leads else ()
        cookie = self.edge.auth.cookies.setting_state(started.state)
        return json_reply(SocialReply(started.url, leads), headers, (cookie,))

    def _arrived(self, arrival: Arrival) -> AuthReply:
        headers: HeaderPairs = ()
        cookies: tuple[str, ...] = (self.edge.auth.cookies.clearing_state,) if arrival.is_over else ()
        if arrival.signed_in is not None:
            headers, more = self.edge.session_headers(arrival.signed_in.session.token)
            cookies += more
        return redirect(arrival.url, headers, cookies)

    # Provider tokens are not stored, so the three endpoints that return one always refuse.

    async def unlink_account(self, request: Asked) -> AuthReply:
        """Remove the account with the row id `accountId`, unless it is the only way in."""
        asking, values = await self.edge.asking(request, _ACCOUNT_FIELDS)
        await self.social.unlink(asking, values["accountId"])
        return json_reply(UnlinkedReply())

    async def get_access_token(self, request: Asked) -> AuthReply:
        await self._own_account(request)
        raise NoProviderToken

    async def refresh_token(self, request: Asked) -> AuthReply:
        await self._own_account(request)
        raise NoProviderRefreshToken

    async def account_info(self, request: Asked) -> AuthReply:
        asking = await self.edge.signed_in(request.scope)
        await self._require_own(asking, query_value(request.scope, "accountId") or "")
        raise NoProviderAccessToken

    async def _own_account(self, request: Asked) -> None:
        body = await self.edge.accept(request)
        asking = await self.edge.signed_in(request.scope)
        await self._require_own(asking, check(body, _ACCOUNT_FIELDS)["accountId"])

    async def _require_own(self, asking: SignedIn, account_row_id: str) -> None:
        if not await self.social.store.owns(account_row_id, asking.user_id):
            raise AccountNotFound


ROUTES: tuple[Route[SocialEndpoints], ...] = (
    Route("POST", "/sign-in/social", SocialEndpoints.sign_in_social, "anyone", "sign-in",
          Doc("sign_in_social", _FIELDS, SocialReply, (UnknownProvider,))),
    Route("POST", "/link-social", SocialEndpoints.link_social, "session", "auth",
          Doc("link_social", _FIELDS, SocialReply, (UnknownProvider,))),
    Route("GET", "/callback/{provider_id:str}", SocialEndpoints.callback, "anyone", "auth",
          Doc("social_callback", _CALLBACK_QUERY, status=302)),
    Route("POST", "/callback/{provider_id:str}", SocialEndpoints.posted_callback, "anyone", "auth",
          takes_cross_site=True),
    Route("GET", "/error", SocialEndpoints.error_page, "anyone", "auth",
          Doc("auth_error", _ERROR_QUERY, is_alone=True, more={"media_type": "text/plain"})),
    Route("POST", "/unlink-account", SocialEndpoints.unlink_account, "session", "auth",
          Doc("unlink_account", _ACCOUNT_FIELDS, UnlinkedReply)),
    Route("POST", "/get-access-token", SocialEndpoints.get_access_token, "session", "auth"),
    Route("POST", "/refresh-token", SocialEndpoints.refresh_token, "session", "auth"),
    Route("GET", "/account-info", SocialEndpoints.account_info, "session", "auth"),
)  # fmt: skip


def _once(query: str) -> dict[str, str] | None:
    """The provider's parameters; None if one is repeated (RFC 6749, 3.1) or too long."""
    try:
        found = parse_qs(query, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return None
    sent = {name: found.get(name, [""]) for name in _RETURNED}
    if any(len(values) > 1 or len(values[0]) > _MAX_RETURNED_CHARS for values in sent.values()):
        return None
    return {name: values[0] for name, values in sent.items()}
