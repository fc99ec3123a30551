"""What goes wrong between us, a browser and a provider."""

from freehold.errors import BetterAuth, Forbidden, NotFound, Unavailable


class UnknownProvider(NotFound):
    """No such provider is set up."""

    message = "Provider not found"
    remedy = "Use one that the service offers."
    better_auth = BetterAuth("PROVIDER_NOT_FOUND")


class IdentityProviderUnavailable(Unavailable):
    """The provider to sign in with does not answer, or answers what nobody can use."""

    code = "identity_provider_unavailable"
    remedy = "Try again later, or sign in another way."


class SocialRefusal(Forbidden):
    """This sign-in ends here. `reason` is what the app is told in `?error=`, in better-auth's words."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
