"""What sign-up, sign-in and the care of an account refuse."""

from freehold.auth.types import User
from freehold.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated, Unavailable


class EmailTaken(Conflict):
    """Somebody has signed up with this address."""

    code = "email_taken"


class IdentityTaken(Conflict):
    """Somebody else signs in with this identity."""

    code = "identity_taken"


class AccountNotFound(InvalidInput):
    """The user has no such account."""

    code = "account_not_found"


class LastAccount(InvalidInput):
    """The user's only account; without it there would be no way in."""

    code = "last_account"


class IsGuest(Conflict):
    """Guests are guests already."""

    code = "is_guest"


class NotAGuest(Forbidden):
    """Only a guest may do this."""

    code = "not_a_guest"


class InvalidEmail(InvalidInput):
    """Not an e-mail address."""

    code = "invalid_email"


class PasswordTooShort(InvalidInput):
    code = "password_too_short"


class PasswordTooLong(InvalidInput):
    code = "password_too_long"


class PasswordCompromised(InvalidInput):
    """One of the most common passwords, or one that is known from a breach."""

    code = "password_compromised"


class PasswordTooPredictable(InvalidInput):
    """Made of the user's own words, or the service's."""

    code = "password_too_predictable"


class WrongCredentials(Unauthenticated):
    """Unknown address or wrong password; which of them is not told."""

    code = "wrong_credentials"


class Banned(Forbidden):
    """The password is right, but an operator has banned the user."""

    code = "banned"


class NotAnAdmin(Conflict):
    """The user exists and was not asked to be made an administrator."""

    code = "not_an_admin"


class BadAccessToken(Unauthenticated):
    """An access token that is forged, expired, of another kind, or whose session has ended."""

    code = "bad_access_token"


class BadRefreshToken(Unauthenticated):
    """A refresh token that is unknown or expired, was used before, or whose session has ended."""

    code = "bad_refresh_token"


class MailUnavailable(Unavailable):
    """The mail server does not answer, or does not take mail now."""

    code = "mail_unavailable"


class MailRefused(InvalidInput):
    """The mail server takes no mail for this address."""

    code = "mail_refused"


class EmailNotVerified(Forbidden):
    """Nobody gets in with this address before its owner has followed the link in a mail.

    `user` is who would have signed in or up; after a sign-up with an address that is taken, nobody's.
    """

    code = "email_not_verified"

    def __init__(self, user: User) -> None:
        super().__init__("follow the link in the mail to verify your address first")
        self.user = user


class WrongCode(InvalidInput):
    """Not the code that was sent last, or one that was used."""

    code = "wrong_code"


class CodeExpired(InvalidInput):
    """A code that was not used within its five minutes."""

    code = "code_expired"


class TooManyTries(Forbidden):
    """So many wrong codes that even the right one is not taken."""

    code = "too_many_tries"


class BadLink(InvalidInput):
    """A link that is forged, was used, or is void since something changed."""

    code = "bad_link"


class LinkExpired(InvalidInput):
    code = "link_expired"


class WrongPassword(InvalidInput):
    """Somebody who is signed in gave a wrong password."""

    code = "wrong_password"


class NoPassword(InvalidInput):
    """The user signs in without one."""

    code = "no_password"


class SameEmail(InvalidInput):
    """The new address is the present one."""

    code = "same_email"


class EmailMismatch(InvalidInput):
    """This is not the signed-in user's e-mail address."""

    code = "email_mismatch"


class EmailVerified(InvalidInput):
    """The address is verified already."""

    code = "email_verified"


class SessionNotFresh(Forbidden):
    """The sign-in was too long ago for something this serious."""

    code = "session_not_fresh"


class NoSuchUser(NotFound):
    """There is no user with this id, or no longer."""

    code = "no_such_user"


class NoSuchField(InvalidInput):
    """Users have no field of this name."""

    code = "no_such_field"


class CannotBanYourself(InvalidInput):
    """An administrator would lock themself out."""

    code = "cannot_ban_yourself"


class CannotRemoveYourself(InvalidInput):
    """An administrator would delete themself as if somebody else."""

    code = "cannot_remove_yourself"


class AdminsActAsThemselves(Forbidden):
    """Nobody impersonates an administrator."""

    code = "admins_act_as_themselves"


class NotImpersonating(InvalidInput):
    """This session is not one in which an administrator acts as somebody else."""

    code = "not_impersonating"


class AdminSessionGone(InvalidInput):
    """The session that an impersonation was begun from is over, or its cookie was not sent."""

    code = "admin_session_gone"
