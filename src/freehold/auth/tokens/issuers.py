"""All that is issued besides sessions."""

from dataclasses import dataclass

from freehold.auth.api_keys.service import ApiKeys
from freehold.auth.tokens.jwts import Jwts
from freehold.auth.tokens.refresh import TokenPairs
from freehold.auth.tokens.signing_keys import SigningKeys


@dataclass(frozen=True, slots=True)
class Issuers:
    """JWTs and the keys that sign them; pairs of access and refresh tokens; API keys."""

    signing_keys: SigningKeys
    jwts: Jwts
    pairs: TokenPairs
    api_keys: ApiKeys
