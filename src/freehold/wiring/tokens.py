"""What issues tokens and API keys."""

from dataclasses import dataclass
from datetime import timedelta

from freehold.auth.api_keys.service import ApiKeys
from freehold.auth.sessions.sessions import Sessions
from freehold.auth.tokens.jwts import Jwts
from freehold.auth.tokens.refresh import TokenPairs
from freehold.auth.tokens.signing_keys import MAX_AGE, SigningKeys
from freehold.central.auth.api_keys import CentralApiKeys
from freehold.central.auth.signing_keys import CentralSigningKeys
from freehold.central.auth.tokens import CentralRefreshTokens
from freehold.central.engine import Central
from freehold.changes import Changes


@dataclass(frozen=True, kw_only=True)
class TokenServices:
    """All that is issued besides sessions."""

    signing_keys: SigningKeys
    jwts: Jwts
    pairs: TokenPairs
    api_keys: ApiKeys


def open_tokens(
    central: Central,
    changes: Changes,
    sessions: Sessions,
    secret: str,
    public_url: str,
    *,
    signing_key_max_age: timedelta = MAX_AGE,
) -> TokenServices:
    """What issues tokens, on an open central database."""
    signing_keys = SigningKeys(CentralSigningKeys(central), changes, secret, max_age=signing_key_max_age)
    jwts = Jwts(signing_keys, public_url)
    pairs = TokenPairs(CentralRefreshTokens(central), sessions, jwts, secret)
    return TokenServices(
        signing_keys=signing_keys, jwts=jwts, pairs=pairs, api_keys=ApiKeys(CentralApiKeys(central))
    )
