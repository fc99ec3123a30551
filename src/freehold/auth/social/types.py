"""Types of social sign-in."""

import msgspec

from freehold.auth.types import SignedIn


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A person's identity at a provider. Only `subject` never changes there.

    `email` is lower case. `email_verified` means that the provider vouches for the address now, not that it once did.
    """

    provider_id: str
    subject: str
    email: str
    email_verified: bool
    name: str
    image: str | None = None
    scopes: tuple[str, ...] = ()


class Redirects(msgspec.Struct, frozen=True, kw_only=True):
    """Where the browser goes in the end; already checked to be safe. If empty, a default is used."""

    callback_url: str = ""
    error_url: str = ""
    new_user_url: str = ""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt while the browser is at the provider. Contains no secret: those are derived from the state.

    `link_user_id`: the user who is adding the provider to their account. `guest_id`: the guest who is signing in.
    """

    provider_id: str
    redirects: Redirects
    link_user_id: str = ""
    guest_id: str = ""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of an authorization request; its secrets are also needed to read the response."""

    state: str
    nonce: str
    code_verifier: str
    redirect_uri: str
    login_hint: str = ""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """Send the browser to `url`, and bind it to this attempt with `state` in a signed cookie."""

    url: str
    state: str


class Returned(msgspec.Struct, frozen=True, kw_only=True):
    """What the browser brings back from a provider; empty if absent."""

    state: str = ""
    code: str = ""
    error: str = ""
    issuer: str = ""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Where a returning browser is redirected. `is_over`: the attempt is used up, so its cookie can be cleared."""

    url: str
    is_over: bool = False
    signed_in: SignedIn | None = None
