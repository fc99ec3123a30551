"""Errors between this service, a browser and a provider."""

from freehold.errors import BetterAuth, Forbidden, NotFound, Unavailable


class UnknownProvider(NotFound):
    """No such provider is configured."""

    message = "Provider not found"
    remedy = "Use one that is configured."
    better_auth = BetterAuth("PROVIDER_NOT_FOUND")


class IdentityProviderUnavailable(Unavailable):
    """The sign-in provider is not responding, or its response cannot be used."""

    code = "identity_provider_unavailable"
    remedy = "Try again later, or sign in another way."


class SocialRefusal(Forbidden):
    """This sign-in ends here. `reason` is better-auth's code, sent to the app in `?error=`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
