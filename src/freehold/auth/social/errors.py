"""What goes wrong between us, a browser and a provider."""

from freehold.errors import Forbidden, NotFound, Unavailable


class UnknownProvider(NotFound):
    """No such provider is set up."""

    code = "unknown_provider"


class IdentityProviderUnavailable(Unavailable):
    """A provider does not answer, or answers what nobody can use."""

    code = "identity_provider_unavailable"


class SocialRefusal(Forbidden):
    """This sign-in ends here. `reason` is what the app is told in `?error=`, in better-auth's words."""

    code = "social_refusal"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
