"""OAuth 2.0's authorization code flow with PKCE (RFC 6749, 7636)."""

from typing import Any
from urllib.parse import quote_plus

import msgspec
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from freehold.auth.social.errors import SocialRefusal
from freehold.auth.social.types import Question
from freehold.identity.outbound import Outbound

_FORM = "application/x-www-form-urlencoded"


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """This service's registration with a provider. `client_secret` is never shown."""

    provider_id: str
    client_id: str
    client_secret: str
    scopes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Registration({self.provider_id!r}, client_id={self.client_id!r}, scopes={self.scopes!r})"


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens for a code, used to identify the user and then dropped: see docs/decisions/0019-social-sign-in.md."""

    access_token: str
    id_token: str = ""
    scope: str = ""

    def __repr__(self) -> str:
        return f"Tokens(scope={self.scope!r})"


def authorize_url(endpoint: str, us: Registration, question: Question, **more: str) -> str:
    """The URL to send the browser to. The code that it brings back is useless without the verifier."""
    return str(
        prepare_grant_uri(
            endpoint,
            us.client_id,
            "code",
            redirect_uri=question.redirect_uri,
            scope=us.scopes,
            state=question.state,
            code_challenge=create_s256_code_challenge(question.code_verifier),
            code_challenge_method="S256",
            login_hint=question.login_hint or None,
            **more,
        )
    )


async def exchange(
    outbound: Outbound, endpoint: str, us: Registration, code: str, question: Question, *, auth_method: str
) -> Tokens:
    """The tokens for a code.

    Raises:
        SocialRefusal: `invalid_code`: the provider rejects it.
        IdentityProviderUnavailable: no answer.
    """
    body = prepare_token_request(
        "authorization_code", code=code, redirect_uri=question.redirect_uri, code_verifier=question.code_verifier
    )
    url, headers, body = _client_auth(us, auth_method).prepare("POST", endpoint, {"Content-Type": _FORM}, body)
    reply = await outbound.post(url, headers, body)
    found: Any = reply.content
    # GitHub responds with status 200 and an error in the body.
    if reply.status != 200 or not isinstance(found, dict) or not isinstance(found.get("access_token"), str):
        raise SocialRefusal("invalid_code", f"{us.provider_id} rejected the code")
    if str(found.get("token_type", "bearer")).lower() != "bearer":
        raise SocialRefusal("invalid_code", f"{us.provider_id} returned a token of an unknown type")
    id_token, scope = found.get("id_token"), found.get("scope")
    return Tokens(
        access_token=found["access_token"],
        id_token=id_token if isinstance(id_token, str) else "",
        scope=scope if isinstance(scope, str) else "",
    )


def _client_auth(us: Registration, auth_method: str) -> ClientAuth:
    if auth_method == "client_secret_basic":  # RFC 6749, 2.3.1: both are form-encoded first
        return ClientAuth(quote_plus(us.client_id), quote_plus(us.client_secret), auth_method)
    return ClientAuth(us.client_id, us.client_secret, auth_method)
