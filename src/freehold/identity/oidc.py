"""Any OpenID Connect issuer, found by discovery. Source: OpenID Connect Core 1.0, sections 3.1 and 5.3."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError

from freehold.auth.social.errors import SocialRefusal
from freehold.auth.social.types import Identity, Question
from freehold.identity.code_flow import Registration, Tokens, authorize_url, exchange
from freehold.identity.metadata import Issuer, Metadata
from freehold.identity.outbound import Outbound
from freehold.identity.profile import identity

# Signatures by a key that only the issuer has. Not `none`, and not HMAC, whose key every client has.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_LEEWAY_S = 60  # how far clocks may differ


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """Implements `auth.social.ports.IdentityProvider`. `asks_with` joins the question to the browser's user."""

    outbound: Outbound
    issuer: Issuer
    us: Registration
    asks_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def provider_id(self) -> str:
        return self.us.provider_id

    async def authorize_url(self, question: Question) -> str:
        metadata = await self.issuer.metadata()
        return authorize_url(
            metadata.authorization_endpoint, self.us, question, nonce=question.nonce, **self.asks_with
        )

    async def identify(self, code: str, issuer: str, question: Question) -> Identity:
        metadata = await self.issuer.metadata()
        _require_issuer(metadata, issuer)
        tokens = await exchange(
            self.outbound,
            metadata.token_endpoint,
            self.us,
            code,
            question,
            auth_method=metadata.auth_method,
        )
        claims = await self._claims(metadata, tokens, question.nonce)
        if not claims.get("email") and metadata.userinfo_endpoint:
            claims = {**claims, **await self._userinfo(metadata, tokens, claims["sub"])}
        return self._identity(claims)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        return identity(
            self.provider_id,
            claims["sub"],
            email=claims.get("email"),
            email_verified=claims.get("email_verified"),
            names=(claims.get("name"), claims.get("preferred_username"), claims.get("nickname")),
            image=claims.get("picture"),
            scopes=self.us.scopes,
        )

    async def _claims(self, metadata: Metadata, tokens: Tokens, nonce: str) -> dict[str, Any]:
        """The verified claims of the id token.

        Raises:
            SocialRefusal: it is missing, or not for us, or not from the issuer, or not for this question.
        """
        try:
            try:
                token = jwt.decode(tokens.id_token, await self.issuer.keys(), algorithms=_ALGORITHMS)
            except InvalidKeyIdError:  # the issuer may have a new key
                keys = await self.issuer.keys(has_unknown=True)
                token = jwt.decode(tokens.id_token, keys, algorithms=_ALGORITHMS)
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "values": [metadata.issuer, *metadata.aliases]},
                    "aud": {"essential": True, "value": self.us.client_id},
                    "nonce": {"essential": True, "value": nonce},
                },
                params={
                    "nonce": nonce,
                    "client_id": self.us.client_id,
                    "access_token": tokens.access_token,
                },
            )
            claims.validate(leeway=_LEEWAY_S)
        # The rest is what JSON of the wrong shape makes of the library's own checks.
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise SocialRefusal(
                "unable_to_get_user_info", f"the id token of {self.provider_id} is not valid: {error}"
            ) from error
        return dict(claims)

    async def _userinfo(self, metadata: Metadata, tokens: Tokens, subject: str) -> dict[str, Any]:
        reply = await self.outbound.get(
            metadata.userinfo_endpoint, {"authorization": f"Bearer {tokens.access_token}"}
        )
        # Section 5.3.2: an answer about somebody else must not be used.
        if reply.status != 200 or not isinstance(reply.content, dict) or reply.content.get("sub") != subject:
            raise SocialRefusal("unable_to_get_user_info", f"{self.provider_id} does not say who this is")
        return reply.content


def _require_issuer(metadata: Metadata, named: str) -> None:
    """RFC 9207: an answer that another issuer mixed in is not to be taken to this one.

    Raises:
        SocialRefusal: `issuer_mismatch` or `issuer_missing`.
    """
    if named and named != metadata.issuer:
        raise SocialRefusal("issuer_mismatch", "the answer comes from another issuer")
    if not named and metadata.authorization_response_iss_parameter_supported:
        raise SocialRefusal("issuer_missing", "the answer does not say which issuer it comes from")


# Google: an OpenID Connect issuer with fixed endpoints.
#
# Source: https://accounts.google.com/.well-known/openid-configuration and
# https://developers.google.com/identity/openid-connect/openid-connect

_GOOGLE = Metadata(
    issuer="https://accounts.google.com",
    aliases=("accounts.google.com",),
    authorization_endpoint="https://accounts.google.com/o/oauth2/v2/auth",
    token_endpoint="https://oauth2.googleapis.com/token",  # noqa: S106
    jwks_uri="https://www.googleapis.com/oauth2/v3/certs",
    userinfo_endpoint="https://openidconnect.googleapis.com/v1/userinfo",
    token_endpoint_auth_methods_supported=("client_secret_post", "client_secret_basic"),
)
_SCOPES = ("email", "profile", "openid")


class GoogleProvider(OidcProvider):
    """`email_verified` counts only where Google itself gives out the address, or its owner's domain is Google's.

    Any other address was the user's when they made their Google account; it may be somebody else's today.
    Source: https://developers.google.com/identity/gsi/web/guides/verify-google-id-token
    """

    __slots__ = ()

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        found = super()._identity(claims)
        is_googles = found.email.endswith("@gmail.com") or bool(claims.get("hd"))
        return msgspec.structs.replace(found, email_verified=found.email_verified and is_googles)


def google_provider(
    outbound: Outbound, client_id: str, client_secret: str, metadata: Metadata = _GOOGLE
) -> GoogleProvider:
    """Google for one registration of ours."""
    us = Registration(provider_id="google", client_id=client_id, client_secret=client_secret, scopes=_SCOPES)
    issuer = Issuer(outbound, metadata.issuer, known=metadata)
    return GoogleProvider(outbound, issuer, us, {"include_granted_scopes": "true"})
