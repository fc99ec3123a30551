"""What sign-up and sign-in refuse."""

from freehold.errors import Conflict, Forbidden, InvalidInput, Unauthenticated


class EmailTaken(Conflict):
    """Somebody has signed up with this address."""

    code = "email_taken"


class IdentityTaken(Conflict):
    """Somebody else signs in with this identity."""

    code = "identity_taken"


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
