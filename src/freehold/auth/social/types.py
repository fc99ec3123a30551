"""What social sign-in speaks of: who a provider says someone is, and one try to find that out."""

import msgspec

from freehold.auth.types import SignedIn


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A person's identity at a provider. `subject` never changes there; everything else may.

    `email` is lower case. `email_verified` says that the provider vouches for it today, not that it once did.
    """

    provider_id: str
    subject: str
    email: str
    email_verified: bool
    name: str
    image: str | None = None
    scopes: tuple[str, ...] = ()


class Redirects(msgspec.Struct, frozen=True, kw_only=True):
    """Where the browser goes in the end; all have been found safe. Empty: the usual place."""

    callback_url: str = ""
    error_url: str = ""
    new_user_url: str = ""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept while the browser is at the provider. Holds no secret: those are derived from the state.

    `link_user_id`: the user who adds the provider to their account. `guest_id`: the guest who signs in.
    """

    provider_id: str
    redirects: Redirects
    link_user_id: str = ""
    guest_id: str = ""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is asked with; the same secrets are needed to read its answer."""

    state: str
    nonce: str
    code_verifier: str
    redirect_uri: str
    login_hint: str = ""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """Send the browser to `url`, and bind it to this try with `state` in a signed cookie."""

    url: str
    state: str


class Returned(msgspec.Struct, frozen=True, kw_only=True):
    """What the browser brings back from a provider; empty where it brings none."""

    state: str = ""
    code: str = ""
    error: str = ""
    issuer: str = ""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Where a browser that came back goes. `is_over`: its try is used up, so its cookie may go."""

    url: str
    is_over: bool = False
    signed_in: SignedIn | None = None
