"""What an OpenID Connect issuer says of itself, and the keys that it signs with; both are fetched when needed."""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from freehold.auth.social.errors import IdentityProviderUnavailable
from freehold.identity.outbound import Outbound
from freehold.log import get_logger

_FRESH_S = 3600.0
_REFETCH_S = 60.0  # how often an unknown key makes us look again
_MAX_KEYS = 50

log = get_logger()


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The members that we use. Source: OpenID Connect Discovery 1.0, section 3, and RFC 9207."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False
    # Other names under which the issuer signs.
    aliases: tuple[str, ...] = ()

    @property
    def auth_method(self) -> str:
        methods = self.token_endpoint_auth_methods_supported
        if "client_secret_basic" not in methods and "client_secret_post" in methods:
            return "client_secret_post"
        return "client_secret_basic"


class Issuer:
    """One issuer. Keeps what it fetched for an hour, and goes on with it while the issuer does not answer."""

    def __init__(
        self,
        outbound: Outbound,
        issuer: str,
        known: Metadata | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`known` saves asking an issuer whose endpoints are published for good."""
        self._outbound = outbound
        self._issuer = issuer
        self._known = known
        self._clock = clock
        self._metadata: tuple[Metadata, float] | None = None
        self._keys: tuple[KeySet, float] | None = None
        self._fetching = asyncio.Lock()

    async def metadata(self) -> Metadata:
        """Raises `IdentityProviderUnavailable`."""
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
        """The keys; fetched again if one was met that is not among them, though not at each such meeting.

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
            raise IdentityProviderUnavailable(
                f"`{self._issuer}` does not describe itself: {error}"
            ) from error
        # Section 4.3: else one issuer could speak for another.
        if found.issuer != self._issuer:
            raise IdentityProviderUnavailable(f"`{self._issuer}` calls itself by another name; set that one")
        if not _is_web(found.authorization_endpoint):
            raise IdentityProviderUnavailable(f"`{self._issuer}` names no page to sign in at")
        return msgspec.structs.replace(found, aliases=())


def _is_web(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"https", "http"} and bool(parts.hostname)


def _key_set(issuer: str, content: object) -> KeySet:
    """The keys for signatures. Those of a kind that we do not know are no reason to refuse the others."""
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
