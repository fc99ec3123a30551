"""What issues tokens and API keys."""

from datetime import timedelta

from freehold.auth.api_keys.service import ApiKeys
from freehold.auth.sessions.sessions import Sessions
from freehold.auth.tokens.issuers import Issuers
from freehold.auth.tokens.jwts import Jwts
from freehold.auth.tokens.refresh import TokenPairs
from freehold.auth.tokens.signing_keys import MAX_AGE, SigningKeys
from freehold.central.auth.api_keys import SqlApiKeys
from freehold.central.auth.refresh_tokens import SqlRefreshTokens
from freehold.central.auth.signing_keys import SqlSigningKeys
from freehold.central.engine import Central
from freehold.changes import Changes


def open_issuers(
    central: Central,
    changes: Changes,
    sessions: Sessions,
    secret: str,
    public_url: str,
    *,
    signing_key_max_age: timedelta = MAX_AGE,
) -> Issuers:
    """What issues tokens, on an open central database."""
    signing_keys = SigningKeys(SqlSigningKeys(central), changes, secret, max_age=signing_key_max_age)
    jwts = Jwts(signing_keys, public_url)
    pairs = TokenPairs(SqlRefreshTokens(central), sessions, jwts, secret)
    return Issuers(signing_keys=signing_keys, jwts=jwts, pairs=pairs, api_keys=ApiKeys(SqlApiKeys(central)))
