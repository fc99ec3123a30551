"""Any OpenID Connect issuer, found by discovery. Source: OpenID Connect Core 1.0, sections 3.1 and 5.3.

Its metadata and signing keys are fetched on demand.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from freehold.auth.social.errors import IdentityProviderUnavailable, SocialRefusal
from freehold.auth.social.types import Identity, Question
from freehold.identity.code_flow import Registration, Tokens, authorize_url, exchange
from freehold.identity.outbound import Outbound
from freehold.identity.profile import identity
from freehold.log import get_logger

_FRESH_S = 3600.0
_REFETCH_S = 60.0  # minimum interval between fetches because of an unknown key
_MAX_KEYS = 50

log = get_logger()


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata that we use. Source: OpenID Connect Discovery 1.0, section 3, and RFC 9207."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False
    # Other issuer names in its tokens.
    aliases: tuple[str, ...] = ()

    @property
    def auth_method(self) -> str:
        methods = self.token_endpoint_auth_methods_supported
        if "client_secret_basic" not in methods and "client_secret_post" in methods:
            return "client_secret_post"
        return "client_secret_basic"


class Issuer:
    """One issuer. Caches its metadata and keys for an hour; if it does not answer, old metadata stays in use."""

    def __init__(
        self,
        outbound: Outbound,
        issuer: str,
        known: Metadata | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """With `known`, nothing is discovered, for an issuer whose endpoints never change."""
        self._outbound = outbound
        self._issuer = issuer
        self._known = known
        self._clock = clock
        self._metadata: tuple[Metadata, float] | None = None
        self._keys: tuple[KeySet, float] | None = None
        self._fetching = asyncio.Lock()

    async def metadata(self) -> Metadata:
        """The issuer's metadata. Raises `IdentityProviderUnavailable`."""
        if self._known is not None:
            return self._known
        async with self._fetching:
            if self._metadata is not None and self._is_fresh(self._metadata[1]):
                return self._metadata[0]
            try:
                found = await self._discover()
            except IdentityProviderUnavailable as error:
                if self._metadata is None:
                    raise
                log.warning("identity_provider.not_refreshed", issuer=self._issuer, reason=str(error))
                found = self._metadata[0]
            self._metadata = found, self._clock()
            return found

    async def keys(self, *, has_unknown: bool = False) -> KeySet:
        """The keys. With `has_unknown`, they are fetched again unless that happened a short time ago.

        Raises:
            IdentityProviderUnavailable: no answer, or none with keys in it.
        """
        metadata = await self.metadata()
        async with self._fetching:
            if self._keys is not None:
                age_s = self._clock() - self._keys[1]
                if age_s < (_REFETCH_S if has_unknown else _FRESH_S):
                    return self._keys[0]
            reply = await self._outbound.get(metadata.jwks_uri)
            self._keys = _key_set(self._issuer, reply.content), self._clock()
            return self._keys[0]

    def _is_fresh(self, since: float) -> bool:
        return self._clock() - since < _FRESH_S

    async def _discover(self) -> Metadata:
        reply = await self._outbound.get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            found = msgspec.convert(reply.content, Metadata)
        except msgspec.ValidationError as error:
            raise IdentityProviderUnavailable(f"`{self._issuer}` does not describe itself: {error}") from error
        # Section 4.3: otherwise one issuer could impersonate another.
        if found.issuer != self._issuer:
            raise IdentityProviderUnavailable(f"`{self._issuer}` calls itself by another name; set that one")
        if not _is_web(found.authorization_endpoint):
            raise IdentityProviderUnavailable(f"`{self._issuer}` has no valid authorization endpoint")
        return msgspec.structs.replace(found, aliases=())


def _is_web(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"https", "http"} and bool(parts.hostname)


def _key_set(issuer: str, content: object) -> KeySet:
    """The signature keys. Keys of unknown types are skipped."""
    keys = content.get("keys") if isinstance(content, dict) else None
    usable = [
        key
        for key in (keys if isinstance(keys, list) else [])[:_MAX_KEYS]
        if isinstance(key, dict) and key.get("kty") in {"RSA", "EC", "OKP"} and key.get("use", "sig") == "sig"
    ]
    try:
        return KeySet.import_key_set({"keys": usable})
    except (JoseError, ValueError, TypeError) as error:
        raise IdentityProviderUnavailable(f"`{issuer}` has no keys that we can use") from error


# Signatures by a key that only the issuer has. Not `none`, and not HMAC, whose key clients know too.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_LEEWAY_S = 60  # tolerance for differing clocks


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """Implements `auth.social.service.IdentityProvider`. `asks_with` are additional authorization parameters."""

    outbound: Outbound
    issuer: Issuer
    us: Registration
    asks_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def provider_id(self) -> str:
        return self.us.provider_id

    async def authorize_url(self, question: Question) -> str:
        metadata = await self.issuer.metadata()
        return authorize_url(metadata.authorization_endpoint, self.us, question, nonce=question.nonce, **self.asks_with)

    async def identify(self, code: str, issuer: str, question: Question) -> Identity:
        metadata = await self.issuer.metadata()
        _require_issuer(metadata, issuer)
        tokens = await exchange(
            self.outbound, metadata.token_endpoint, self.us, code, question, auth_method=metadata.auth_method
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
            SocialRefusal: it is missing, or not for this client, issuer or question.
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
                params={"nonce": nonce, "client_id": self.us.client_id, "access_token": tokens.access_token},
            )
            claims.validate(leeway=_LEEWAY_S)
        # The errors other than `JoseError` come from the library's checks of malformed JSON.
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise SocialRefusal(
                "unable_to_get_user_info", f"the id token of {self.provider_id} is not valid: {error}"
            ) from error
        return dict(claims)

    async def _userinfo(self, metadata: Metadata, tokens: Tokens, subject: str) -> dict[str, Any]:
        reply = await self.outbound.get(metadata.userinfo_endpoint, {"authorization": f"Bearer {tokens.access_token}"})
        # Section 5.3.2: a response about someone else must not be used.
        if reply.status != 200 or not isinstance(reply.content, dict) or reply.content.get("sub") != subject:
            raise SocialRefusal("unable_to_get_user_info", f"{self.provider_id} does not identify the user")
        return reply.content


def _require_issuer(metadata: Metadata, named: str) -> None:
    """RFC 9207: reject a response that comes from another issuer (mix-up attack).

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
    """`email_verified` counts only if Google itself hosts the address or its domain.

    Any other address belonged to the user when they created their Google account, but may be someone else's now.
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
    """Google with this registration."""
    us = Registration(provider_id="google", client_id=client_id, client_secret=client_secret, scopes=_SCOPES)
    issuer = Issuer(outbound, metadata.issuer, known=metadata)
    return GoogleProvider(outbound, issuer, us, {"include_granted_scopes": "true"})
