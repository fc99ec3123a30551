"""Errors of sign-up, sign-in and account management.

Errors without a `code` are returned by `/api/auth` only.
"""

from freehold.auth.types import User
from freehold.errors import BetterAuth, Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated, Unavailable


class EmailTaken(Conflict):
    """A user has this address."""

    code = "email_taken"
    message = "there is a user with this address"
    remedy = "Sign in, or use another address."
    better_auth = BetterAuth(
        "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL", "User already exists. Use another email.", "taken"
    )


class IdentityTaken(Conflict):
    """Someone else signs in with this identity. Caught during sign-in with a provider."""


class AccountNotFound(InvalidInput):
    """The user has no such account."""

    message = "Account not found"
    remedy = "Use an id from `list-accounts`."
    better_auth = BetterAuth("ACCOUNT_NOT_FOUND")


class LastAccount(InvalidInput):
    """The user's only sign-in method cannot be removed."""

    message = "You can't unlink your last account"
    remedy = "Add another one first."
    better_auth = BetterAuth("FAILED_TO_UNLINK_LAST_ACCOUNT")


class IsGuest(InvalidInput):
    """You are already signed in as a guest."""

    message = "Anonymous users cannot sign in again anonymously"
    remedy = "Continue with that session, or sign out first."
    better_auth = BetterAuth("ANONYMOUS_USERS_CANNOT_SIGN_IN_AGAIN_ANONYMOUSLY")


class NotAGuest(Forbidden):
    """Only a guest may do this."""

    message = "User is not anonymous"
    remedy = "Delete a full account with `delete-user`."
    better_auth = BetterAuth("USER_IS_NOT_ANONYMOUS")


class InvalidEmail(InvalidInput):
    """This is not an e-mail address."""

    code = "invalid_email"
    message = "this is not an e-mail address"
    remedy = "Check it for typing errors."
    better_auth = BetterAuth("INVALID_EMAIL", "Invalid email")


class PasswordTooShort(InvalidInput):
    """The password has fewer than 8 characters."""

    code = "password_too_short"
    remedy = "Choose a longer one."
    better_auth = BetterAuth("PASSWORD_TOO_SHORT", "Password too short")


class PasswordTooLong(InvalidInput):
    """The password has more than 128 characters."""

    code = "password_too_long"
    remedy = "Choose a shorter one."
    better_auth = BetterAuth("PASSWORD_TOO_LONG", "Password too long")


class PasswordCompromised(InvalidInput):
    """The password is one of the most common ones, or known from a breach."""

    code = "password_compromised"
    remedy = "Choose another one."
    better_auth = BetterAuth(
        "PASSWORD_COMPROMISED", "The password you entered has been compromised. Please choose a different password."
    )


class PasswordTooPredictable(InvalidInput):
    """The password consists of your name, your address, or the name of this app."""

    code = "password_too_predictable"
    message = "choose a password without your name, your address, or the name of this app"
    remedy = "Choose another one."
    better_auth = BetterAuth(
        "PASSWORD_TOO_PREDICTABLE", "Choose a password without your name, your address, or the name of this app"
    )


class WrongCredentials(Unauthenticated):
    """The address or the password is wrong; the response does not say which."""

    code = "wrong_credentials"
    message = "the address or the password is wrong"
    remedy = "Check both, or choose a new password through a link in an e-mail."
    better_auth = BetterAuth("INVALID_EMAIL_OR_PASSWORD", "Invalid email or password")


class Banned(Forbidden):
    """The user is banned."""

    code = "banned"
    message = "this user is banned"
    remedy = "Ask the operator."
    better_auth = BetterAuth(
        "BANNED_USER",
        "You have been banned from this application. Please contact support if you believe this is an error.",
    )


class NotAnAdmin(Conflict):
    """`users create-admin` found an ordinary user with this address."""

    code = "not_an_admin"
    remedy = "Use `--promote` to make them an administrator."
    where = "cli"


class BadAccessToken(Unauthenticated):
    """The access token is forged or expired, or its session has ended."""

    code = "bad_access_token"
    remedy = "Get a new one with the refresh token, or sign in."
    better_auth = BetterAuth("INVALID_TOKEN", "Invalid or expired token")


class BadRefreshToken(Unauthenticated):
    """The refresh token is unknown, expired or already used, or its session has ended."""

    message = "Invalid or expired refresh token"
    remedy = "Sign in."
    better_auth = BetterAuth("INVALID_REFRESH_TOKEN")


class MailUnavailable(Unavailable):
    """The e-mail was not sent because the mail server is not accepting it now."""

    code = "mail_unavailable"
    remedy = "Try again later."


class MailRefused(InvalidInput):
    """The mail server does not accept e-mail for this address."""

    code = "mail_refused"
    message = "the mail server takes no mail for this address"
    remedy = "Check it, or use another."
    better_auth = BetterAuth("MAIL_REFUSED", "The mail server takes no mail for this address")


class EmailNotVerified(Forbidden):
    """The address must be verified with the link in an e-mail before anyone can sign in with it.

    `user` is the user who would have been signed in; a made-up one after a sign-up with an address that is taken.
    """

    code = "email_not_verified"
    message = "follow the link in the mail to verify your address first"
    remedy = "Follow the link in the e-mail."
    better_auth = BetterAuth("EMAIL_NOT_VERIFIED", "Email not verified")

    def __init__(self, user: User) -> None:
        super().__init__()
        self.user = user


class WrongCode(InvalidInput):
    """This is not the most recent one-time code, or it has already been used."""

    message = "Invalid OTP"
    remedy = "Ask for another one."
    better_auth = BetterAuth("INVALID_OTP")


class CodeExpired(InvalidInput):
    """The one-time code is older than five minutes."""

    message = "OTP expired"
    remedy = "Ask for another one."
    better_auth = BetterAuth("OTP_EXPIRED")


class TooManyTries(Forbidden):
    """There were too many wrong one-time codes: from this network, even the correct one is now refused."""

    message = "Too many attempts"
    remedy = "Ask for another one."
    better_auth = BetterAuth("TOO_MANY_ATTEMPTS")


class BadLink(InvalidInput):
    """The link in an e-mail is forged, already used, too old, or void because the account has changed."""

    message = "Invalid token"
    remedy = "Ask for another one."
    better_auth = BetterAuth("INVALID_TOKEN")


class LinkExpired(Unauthenticated):
    """The link in an e-mail is too old."""

    message = "Token expired"
    remedy = "Ask for another one."
    better_auth = BetterAuth("TOKEN_EXPIRED")


class WrongPassword(InvalidInput):
    """This is not the password of the signed-in user."""

    message = "Invalid password"
    remedy = "Try again, or choose a new one through a link in an e-mail."
    better_auth = BetterAuth("INVALID_PASSWORD")


class NoPassword(InvalidInput):
    """The account has no password."""

    message = "Credential account not found"
    remedy = "Choose one through a link in an e-mail."
    better_auth = BetterAuth("CREDENTIAL_ACCOUNT_NOT_FOUND")


class SameEmail(InvalidInput):
    """The new address is the current one."""

    message = "Email is the same"
    remedy = "There is nothing to do."
    better_auth = BetterAuth("")


class EmailMismatch(InvalidInput):
    """This is not the signed-in user's e-mail address."""

    message = "Email mismatch"
    remedy = "Send the user's own address, or sign out first."
    better_auth = BetterAuth("EMAIL_MISMATCH")


class EmailVerified(InvalidInput):
    """The address is already verified."""

    message = "Email is already verified"
    remedy = "There is nothing to do."
    better_auth = BetterAuth("EMAIL_ALREADY_VERIFIED")


class SessionNotFresh(Forbidden):
    """The sign-in was too long ago for this (by default, more than a day: `SESSION_FRESH_S`)."""

    message = "Session is not fresh"
    remedy = "Sign in again. `delete-user` says 400 `SESSION_EXPIRED` instead, as better-auth does."
    better_auth = BetterAuth("SESSION_NOT_FRESH")


class NoSuchUser(NotFound):
    """The user does not exist, or no longer does."""

    message = "there is no such user"
    remedy = "Use an id from `admin/list-users`."
    better_auth = BetterAuth("USER_NOT_FOUND", "User not found")


class NoSuchField(InvalidInput):
    """Users have no field of this name. Caught where users are listed."""


class CannotBanYourself(InvalidInput):
    """You tried to ban yourself, which would lock you out."""

    message = "You cannot ban yourself"
    remedy = "Ask another administrator."
    better_auth = BetterAuth("YOU_CANNOT_BAN_YOURSELF")


class CannotRemoveYourself(InvalidInput):
    """You tried to remove yourself through the administrators' route."""

    message = "You cannot remove yourself"
    remedy = "Delete your own account with `delete-user`."
    better_auth = BetterAuth("YOU_CANNOT_REMOVE_YOURSELF")


class AdminsActAsThemselves(Forbidden):
    """Administrators cannot be impersonated."""

    message = "You cannot impersonate admins"
    remedy = "Impersonate an ordinary user."
    better_auth = BetterAuth("YOU_CANNOT_IMPERSONATE_ADMINS")


class NotImpersonating(InvalidInput):
    """The session is not an impersonation."""

    message = "You are not impersonating anyone"
    remedy = "There is nothing to do."
    better_auth = BetterAuth("")


class AdminSessionGone(InvalidInput):
    """The session that the impersonation started from has ended, or its cookie was not sent."""

    message = "Failed to find admin session"
    remedy = "Sign in again."
    better_auth = BetterAuth("")
