"""`/api/auth`: verifying and changing an e-mail address by links in mails."""

from dataclasses import dataclass

from litestar.types import Scope

from freehold.auth.email.addresses import EmailAddresses, Followed
from freehold.auth.errors import BadLink, EmailTaken, LinkExpired
from freehold.auth.types import SignedIn
from freehold.http.auth.answers import Status, StatusUser, with_query
from freehold.http.auth.bodies import CHOSEN_PASSWORD, Field, check, optional
from freehold.http.auth.context import AuthContext, query_value, required_value
from freehold.http.auth.errors import BadVerificationLink, SignedOut
from freehold.http.auth.replies import AuthReply, HeaderPairs, json_reply, redirect
from freehold.http.auth.route import Doc, Route
from freehold.http.headers import Asked, language_of

_SEND_FIELDS = (Field("email", "email"), optional("callbackURL"), CHOSEN_PASSWORD)
_VERIFY_QUERY = (Field("token"), optional("callbackURL"))
_CHANGE_FIELDS = (Field("newEmail", "email"), optional("callbackURL"))


@dataclass(frozen=True, slots=True)
class EmailEndpoints:
    edge: AuthContext
    addresses: EmailAddresses

    async def send(self, request: Asked) -> AuthReply:
        """Mail a link that verifies `email` and leads to `callbackURL`.

        The first verification revokes every other way to sign in to the account, except the session that sends this
        request. Without a session, the account's password becomes `password`, if sent.
        """
        values = check(await self.edge.accept(request), _SEND_FIELDS)
        email, callback_url = values["email"], values.get("callbackURL", "")
        language, source = language_of(request.scope), self.edge.source(request.scope)
        asking = await self.edge.maybe_signed_in(request.scope)
        password = values.get(CHOSEN_PASSWORD.name)
        if password is not None and asking is None:
            chosen = await self.edge.auth.chosen(email, password)
            await self.addresses.mail_sign_up_link(email, chosen, callback_url, language, source)
        else:
            await self.addresses.mail_link(email, callback_url, language, source, asking)
        return json_reply(Status())

    async def verify(self, request: Asked) -> AuthReply:
        """The target of the mailed link: verifies or changes the address and redirects to `callbackURL`."""
        self.edge.accept_link(request)
        token = required_value(request.scope, "token")
        target = query_value(request.scope, "callbackURL")
        try:
            return await self._follow(request, token, target)
        except (SignedOut, BadVerificationLink, LinkExpired, EmailTaken) as error:
            if not target:
                raise
            return redirect(with_query(target, "error", error.better_auth.code))

    async def _follow(self, request: Asked, token: str, target: str | None) -> AuthReply:
        asking = await self.edge.maybe_signed_in(request.scope)
        try:
            if asking is not None and self.addresses.address_changed_by(token) not in {None, asking.user.email}:
                raise SignedOut
            followed = await self.addresses.follow_link(token, asking, language_of(request.scope))
        except BadLink as error:
            raise BadVerificationLink from error
        headers, cookies = await self._session(request.scope, followed, asking)
        if target:
            return redirect(target, headers, cookies)
        told = StatusUser(True, followed.user if followed.is_changed else None)
        return json_reply(told, headers, cookies)

    async def _session(
        self, scope: Scope, followed: Followed, asking: SignedIn | None
    ) -> tuple[HeaderPairs, tuple[str, ...]]:
        """Keep the session after a change of address; start one if only the verification was missing."""
        if followed.is_changed:
            return self.edge.session_headers_kept(scope, asking) if asking else ((), ())
        if self.edge.auth.verification is None or not followed.is_first:
            return (), ()
        if not self.edge.may_start_session(scope):
            return (), ()  # a page could sign its visitors in with its owner's link
        client = await self.edge.client(scope)
        started = await self.edge.auth.start_session(followed.user, client, method="link")
        return self.edge.session_headers(started.session.token)

    async def change(self, request: Asked) -> AuthReply:
        """Mail a link to `newEmail` that changes the user's address. The response does not reveal if it is taken."""
        asking, values = await self.edge.asking(request, _CHANGE_FIELDS)
        self.edge.auth.require_fresh(asking)
        await self.addresses.mail_change_link(
            asking, values["newEmail"], values.get("callbackURL", ""), language_of(request.scope)
        )
        return json_reply(Status())


ROUTES: tuple[Route[EmailEndpoints], ...] = (
    Route("POST", "/send-verification-email", EmailEndpoints.send, "anyone", "mail",
          Doc("send_verification_email", _SEND_FIELDS, Status)),
    Route("GET", "/verify-email", EmailEndpoints.verify, "anyone", "auth",
          Doc("verify_email", _VERIFY_QUERY, StatusUser, (400, 401, 403, EmailTaken), leads_on=True)),
    Route("POST", "/change-email", EmailEndpoints.change, "session", "sign-in",
          Doc("change_email", _CHANGE_FIELDS, Status)),
)  # fmt: skip
