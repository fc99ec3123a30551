"""Google: an OpenID Connect issuer with fixed endpoints.

Source: https://accounts.google.com/.well-known/openid-configuration and
https://developers.google.com/identity/openid-connect/openid-connect
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from freehold.auth.social.types import Identity
from freehold.identity.code_flow import Registration
from freehold.identity.metadata import Issuer, Metadata
from freehold.identity.oidc import OidcProvider
from freehold.identity.outbound import Outbound

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
