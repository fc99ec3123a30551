"""Errors that `/api/auth` raises before, or instead of, a service, and better-auth's own refusals."""

from freehold.errors import BetterAuth, Forbidden, InvalidInput, NotFound, TooLarge, Unauthenticated

# Who calls.


class SignedOut(Unauthenticated):
    """There is no valid session."""

    message = "Unauthorized"
    remedy = "Sign in."
    better_auth = BetterAuth("UNAUTHORIZED")


class NobodyAdministers(Unauthenticated):
    """Administering users needs a session. The response has no body."""

    message = "Unauthorized"
    remedy = "Sign in."
    better_auth = BetterAuth("", "")


class NobodyHoldsKeys(Unauthenticated):
    """Managing API keys needs a session, or the body names another user."""

    message = "Unauthorized or invalid session"
    remedy = "Sign in, and leave out `userId`."
    better_auth = BetterAuth("UNAUTHORIZED_SESSION")


class Impersonated(Forbidden):
    """An administrator who is impersonating the user may not do this."""

    message = "Only the user may create keys of their own"
    remedy = "Leave it to the user."
    better_auth = BetterAuth("IMPERSONATED_SESSION")


class NotAllowed(Forbidden):
    """You do not have the right that the rest of the code names, such as `…LIST_USERS`."""

    remedy = "Ask an administrator."
    better_auth = BetterAuth("YOU_ARE_NOT_ALLOWED_TO_…")

    def __init__(self, to_do: str) -> None:
        super().__init__(f"You are not allowed to {to_do}")
        self.better_auth = BetterAuth(str(self).upper().replace(" ", "_"))


# Which page sent the request, and where it leads.


class InvalidOrigin(Forbidden):
    """The request comes from an origin that is not trusted."""

    message = "Invalid origin"
    remedy = "Add it to `TRUSTED_ORIGINS`."
    better_auth = BetterAuth("INVALID_ORIGIN")


class MissingOrigin(Forbidden):
    """The browser's request does not state its origin."""

    message = "Missing or null Origin"
    remedy = "Send it from a page of a trusted origin."
    better_auth = BetterAuth("MISSING_OR_NULL_ORIGIN")


class CrossSiteForm(Forbidden):
    """A form on another site tried to sign the browser in."""

    message = "Cross-site navigation login blocked. This request appears to be a CSRF attack."
    remedy = "Sign in from a page of the app."
    better_auth = BetterAuth("CROSS_SITE_NAVIGATION_LOGIN_BLOCKED")


class BadCallbackUrl(Forbidden):
    """`callbackURL` leads to an origin that is not trusted."""

    message = "Invalid callbackURL"
    remedy = "Add the origin to `TRUSTED_ORIGINS`, or send a path."
    better_auth = BetterAuth("INVALID_CALLBACK_URL")


class BadRedirectUrl(Forbidden):
    """`redirectTo` leads to an origin that is not trusted."""

    message = "Invalid redirectURL"
    remedy = "Add the origin to `TRUSTED_ORIGINS`, or send a path."
    better_auth = BetterAuth("INVALID_REDIRECT_URL")


class BadErrorCallbackUrl(Forbidden):
    """`errorCallbackURL` leads to an origin that is not trusted."""

    message = "Invalid errorCallbackURL"
    remedy = "Add the origin to `TRUSTED_ORIGINS`, or send a path."
    better_auth = BetterAuth("INVALID_ERROR_CALLBACK_URL")


class BadNewUserCallbackUrl(Forbidden):
    """`newUserCallbackURL` leads to an origin that is not trusted."""

    message = "Invalid newUserCallbackURL"
    remedy = "Add the origin to `TRUSTED_ORIGINS`, or send a path."
    better_auth = BetterAuth("INVALID_NEW_USER_CALLBACK_URL")


# What was sent.


class BadRequest(InvalidInput):
    """The body is not JSON, or not a form where one is expected, or is incomplete."""

    message = "Bad request"
    remedy = "Correct the body."
    better_auth = BetterAuth("BAD_REQUEST")


class BodyTooLarge(TooLarge):
    """The body is over its limit."""

    message = "Request body is too large"
    remedy = "Send less."
    better_auth = BetterAuth("PAYLOAD_TOO_LARGE")


class BadField(InvalidInput):
    """A field is missing or has a wrong form."""

    remedy = "The message names each: correct them."
    better_auth = BetterAuth("VALIDATION_ERROR")


class ProtectedField(InvalidInput):
    """The field that the message names cannot be set by users."""

    remedy = "Leave it out."
    better_auth = BetterAuth("FIELD_NOT_ALLOWED")


class EmailInUpdate(InvalidInput):
    """`update-user` does not change the address."""

    message = "Email can not be updated"
    remedy = "Use `change-email`."
    better_auth = BetterAuth("EMAIL_CAN_NOT_BE_UPDATED")


class PasswordInUpdate(InvalidInput):
    """`admin/update-user` does not change the password."""

    message = "Password cannot be updated through update-user. Use the set-user-password endpoint instead"
    remedy = "Use `admin/set-user-password`."
    better_auth = BetterAuth("PASSWORD_CANNOT_BE_UPDATED_VIA_UPDATE_USER")


class NothingToUpdate(InvalidInput):
    """The request changes nothing about the user or the session."""

    message = "No fields to update"
    remedy = "Send at least one field."
    better_auth = BetterAuth("")


class NoDataToUpdate(InvalidInput):
    """The administrator's request changes nothing about the user."""

    message = "No data to update"
    remedy = "Send at least one field."
    better_auth = BetterAuth("NO_DATA_TO_UPDATE")


class NoValuesToUpdate(InvalidInput):
    """The request changes nothing about the API key."""

    message = "No values to update."
    remedy = "Send at least one field."
    better_auth = BetterAuth("NO_VALUES_TO_UPDATE")


class BadRole(InvalidInput):
    """A role is neither a string nor a list of strings."""

    message = "Invalid role type"
    remedy = "Send one."
    better_auth = BetterAuth("INVALID_ROLE_TYPE")


class NoPermissions(InvalidInput):
    """The request names no permissions."""

    message = "invalid permission check. no permission(s) were passed."
    remedy = "Send `permissions`."
    better_auth = BetterAuth("")


class BadCodeType(InvalidInput):
    """This type of code does not exist here."""

    message = "Invalid OTP type"
    remedy = "Send another `type`."
    better_auth = BetterAuth("")


class BadMetadata(InvalidInput):
    """The `metadata` of an API key is not an object."""

    message = "metadata must be an object or undefined"
    remedy = "Send an object, or leave it out."
    better_auth = BetterAuth("INVALID_METADATA_TYPE")


class ServerOnly(InvalidInput):
    """Only operators can set this for API keys."""

    message = "The property you're trying to set can only be set from the server auth instance only."
    remedy = "Use `freehold api-keys`."
    better_auth = BetterAuth("SERVER_ONLY_PROPERTY")


# Answered differently here than where it is raised.


class BadVerificationLink(Unauthenticated):
    """The link to verify an address is forged, already used, or void because the account has changed."""

    message = "Invalid token"
    remedy = "Ask for another one."
    better_auth = BetterAuth("INVALID_TOKEN")


class BadDeletionLink(NotFound):
    """The link to delete an account is forged, already used, too old, or for another account."""

    message = "Invalid token"
    remedy = "Ask for another one."
    better_auth = BetterAuth("INVALID_TOKEN")


class EmailOfAnother(InvalidInput):
    """The new address belongs to another user."""

    message = "User already exists. Use another email."
    remedy = "Use another address."
    better_auth = BetterAuth("USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL")


class UserOfCodeGone(InvalidInput):
    """The code is right, but there is no user with the address."""

    message = "User not found"
    remedy = "Sign up."
    better_auth = BetterAuth("USER_NOT_FOUND")


class SessionTooOld(InvalidInput):
    """The sign-in was too long ago to delete the account (by default, more than a day: `SESSION_FRESH_S`)."""

    message = "Session expired. Re-authenticate to perform this action."
    remedy = "Sign in again, or send the password."
    better_auth = BetterAuth("SESSION_EXPIRED")


# What is not offered.


class NoPostedSession(InvalidInput):
    """get-session does not support POST."""

    kind = "wrong method"
    message = "POST method requires deferSessionRefresh to be enabled in session config"
    remedy = "Use GET."
    better_auth = BetterAuth("METHOD_NOT_ALLOWED_DEFER_SESSION_REQUIRED")


class NoIdTokens(NotFound):
    """Sign-in with an ID token from the app is not supported."""

    message = "id_token not supported"
    remedy = "Sign in through the redirect."
    better_auth = BetterAuth("ID_TOKEN_NOT_SUPPORTED")


class NoProviderToken(InvalidInput):
    """No valid access token of that provider is available."""

    message = "Failed to get a valid access token"
    remedy = "Ask the provider from the app itself: provider tokens are not stored."
    better_auth = BetterAuth("FAILED_TO_GET_ACCESS_TOKEN")


class NoProviderRefreshToken(InvalidInput):
    """No refresh token of that provider is stored for the user."""

    message = "Refresh token not found"
    remedy = "Ask the provider from the app itself: provider tokens are not stored."
    better_auth = BetterAuth("REFRESH_TOKEN_NOT_FOUND")


class NoProviderAccessToken(InvalidInput):
    """No access token of that provider is stored for the user."""

    message = "Access token not found"
    remedy = "Ask the provider from the app itself: provider tokens are not stored."
    better_auth = BetterAuth("ACCESS_TOKEN_NOT_FOUND")
