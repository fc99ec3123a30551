"""`/api/auth/email-otp/…` and signing in with a code, as in better-auth's plugin email-otp."""

from dataclasses import dataclass

from freehold.auth.email.addresses import EmailAddresses
from freehold.auth.email.code_sign_in import CodeSignIn
from freehold.auth.email.codes import CodeKind, Codes, Purpose
from freehold.auth.email.password_resets import PasswordResets
from freehold.auth.emails import checked_email
from freehold.auth.types import NewUser
from freehold.http.auth.answers import Success, TokenUser, VerifiedByCode
from freehold.http.auth.bodies import CHOSEN_PASSWORD, Field, check, optional
from freehold.http.auth.context import AuthContext
from freehold.http.auth.errors import BadCodeType, UserOfCodeGone
from freehold.http.auth.replies import AuthReply, json_reply
from freehold.http.auth.route import Doc, Route
from freehold.http.headers import Asked, language_of

_KINDS = ("email-verification", "sign-in", "forget-password", "change-email")

_EMAIL, _CODE = Field("email"), Field("otp")
_TYPE = Field("type", choices=_KINDS)
_SEND_FIELDS = (_EMAIL, _TYPE)
_SIGN_IN_FIELDS = (_EMAIL, _CODE, optional("name"), optional("image"))
_CHECK_FIELDS = (_EMAIL, _TYPE, _CODE)
_VERIFY_FIELDS = (_EMAIL, _CODE, CHOSEN_PASSWORD)
_REQUEST_RESET_FIELDS = (_EMAIL,)
_RESET_FIELDS = (_EMAIL, _CODE, Field("password"))
_REQUEST_CHANGE_FIELDS = (Field("newEmail"), optional("otp"))
_CHANGE_FIELDS = (Field("newEmail"), _CODE)


@dataclass(frozen=True, slots=True)
class CodeEndpoints:
    edge: AuthContext
    codes: Codes
    sign_ins: CodeSignIn
    resets: PasswordResets
    addresses: EmailAddresses

    async def send(self, request: Asked) -> AuthReply:
        """Mail a code to `email` for the purpose `type`. The response does not reveal whether the user exists."""
        values = check(await self.edge.accept(request), _SEND_FIELDS)
        email, language, source = values["email"], language_of(request.scope), self.edge.source(request.scope)
        match values["type"]:
            case "sign-in":
                await self.sign_ins.send(email, language, source)
            case "email-verification":
                await self.addresses.mail_code(email, language, source)
            case "forget-password":
                await self.resets.mail_code(email, language, source)
            case _:
                checked_email(email)
                raise BadCodeType
        return json_reply(Success())

    async def sign_in(self, request: Asked) -> AuthReply:
        """Start a session with the mailed code; creates a user (`name`, `image`) if there is none."""
        values = check(await self.edge.accept(request), _SIGN_IN_FIELDS)
        new = NewUser(name=values.get("name", ""), email=values["email"], password="", image=values.get("image"))
        signed_in = await self.sign_ins.sign_in(
            values["email"], values["otp"], new, await self.edge.client(request.scope)
        )
        return self.edge.session_started(signed_in, TokenUser(signed_in.session.token, signed_in.user))

    async def check_code(self, request: Asked) -> AuthReply:
        """Check a code without using it up. A wrong one counts as a failed attempt."""
        values = check(await self.edge.accept(request), _CHECK_FIELDS)
        kind: CodeKind = values["type"]
        email = checked_email(values["email"])
        if kind == "change-email":  # bound to two addresses, so it cannot be checked here
            raise BadCodeType
        purpose, source = Purpose(kind=kind, email=email), self.edge.source(request.scope)
        await self.codes.check(purpose, values["otp"], source)
        if await self.resets.store.find_credential(email) is None:
            raise UserOfCodeGone
        return json_reply(Success())

    async def verify_email(self, request: Asked) -> AuthReply:
        """Verify the address with the code mailed to it.

        The first verification revokes every other way to sign in to the account, except the session that sends this
        request, and sets the account's password to `password`, if sent.
        """
        values = check(await self.edge.accept(request), _VERIFY_FIELDS)
        source = self.edge.source(request.scope)
        asking = await self.edge.maybe_signed_in(request.scope)
        password = values.get(CHOSEN_PASSWORD.name)
        chosen = None if password is None else await self.edge.auth.chosen(values["email"], password)
        user = await self.addresses.verify_by_code(values["email"], values["otp"], source, asking, chosen)
        return json_reply(VerifiedByCode(True, None, user))

    async def request_reset(self, request: Asked) -> AuthReply:
        """Mail a code for a new password. The answer does not tell whether there is such a user."""
        values = check(await self.edge.accept(request), _REQUEST_RESET_FIELDS)
        source = self.edge.source(request.scope)
        await self.resets.mail_code(values["email"], language_of(request.scope), source)
        return json_reply(Success())

    async def reset(self, request: Asked) -> AuthReply:
        """Set a new password with the mailed code."""
        values = check(await self.edge.accept(request), _RESET_FIELDS)
        source = self.edge.source(request.scope)
        language = language_of(request.scope)
        await self.resets.reset_by_code(values["email"], values["otp"], values["password"], source, language)
        return json_reply(Success())

    async def request_change(self, request: Asked) -> AuthReply:
        """Mail a code to `newEmail`, to change the signed-in user's address."""
        asking, values = await self.edge.asking(request, _REQUEST_CHANGE_FIELDS)
        self.edge.auth.require_fresh(asking)
        await self.addresses.mail_change_code(asking.user, values["newEmail"], language_of(request.scope))
        return json_reply(Success())

    async def change(self, request: Asked) -> AuthReply:
        """Change the signed-in user's address with the code mailed to the new one."""
        asking, values = await self.edge.asking(request, _CHANGE_FIELDS)
        self.edge.auth.require_fresh(asking)
        language = language_of(request.scope)
        await self.addresses.change_by_code(asking, values["newEmail"], values["otp"], language)
        return self.edge.session_kept(request.scope, asking, Success())


ROUTES: tuple[Route[CodeEndpoints], ...] = (
    Route("POST", "/email-otp/send-verification-otp", CodeEndpoints.send, "anyone", "mail",
          Doc("send_code", _SEND_FIELDS, Success)),
    Route("POST", "/sign-in/email-otp", CodeEndpoints.sign_in, "anyone", "mail",
          Doc("sign_in_code", _SIGN_IN_FIELDS, TokenUser)),
    Route("POST", "/email-otp/check-verification-otp", CodeEndpoints.check_code, "anyone", "mail",
          Doc("check_code", _CHECK_FIELDS, Success)),
    Route("POST", "/email-otp/verify-email", CodeEndpoints.verify_email, "anyone", "mail",
          Doc("verify_email_by_code", _VERIFY_FIELDS, VerifiedByCode)),
    Route("POST", "/email-otp/request-password-reset", CodeEndpoints.request_reset, "anyone", "mail",
          Doc("request_reset_by_code", _REQUEST_RESET_FIELDS, Success)),
    Route("POST", "/forget-password/email-otp", CodeEndpoints.request_reset, "anyone", "mail"),
    Route("POST", "/email-otp/reset-password", CodeEndpoints.reset, "anyone", "mail",
          Doc("reset_password_by_code", _RESET_FIELDS, Success)),
    Route("POST", "/email-otp/request-email-change", CodeEndpoints.request_change, "session", "mail",
          Doc("request_email_change_by_code", _REQUEST_CHANGE_FIELDS, Success)),
    Route("POST", "/email-otp/change-email", CodeEndpoints.change, "session", "mail",
          Doc("change_email_by_code", _CHANGE_FIELDS, Success)),
)  # fmt: skip
