"""Issues tokens and API keys, and recognises whose they are."""

from dataclasses import dataclass
from datetime import timedelta

from freehold.auth.api_keys.service import ApiKeys
from freehold.auth.recognition import Recognition
from freehold.auth.sessions.sessions import MAX_AGE as SESSION_MAX_AGE
from freehold.auth.sessions.sessions import Sessions
from freehold.auth.tokens.jwts import Jwts
from freehold.auth.tokens.refresh import TokenPairs
from freehold.auth.tokens.signing_keys import MAX_AGE, SigningKeys
from freehold.auth.tokens.subjects import TokenSubjects
from freehold.central.auth.api_keys import CentralApiKeys
from freehold.central.auth.tokens import CentralRefreshTokens, CentralSigningKeys, CentralTokenSubjects
from freehold.central.engine import Central
from freehold.changes import RecentChanges


@dataclass(frozen=True, kw_only=True)
class TokenServices:
    """Services for credentials other than sessions, and for recognising all of them."""

    signing_keys: SigningKeys
    jwts: Jwts
    pairs: TokenPairs
    api_keys: ApiKeys
    token_subjects: TokenSubjects
    recognition: Recognition


def open_tokens(
    central: Central,
    changes: RecentChanges,
    sessions: Sessions,
    secret: str,
    public_url: str,
    *,
    signing_key_max_age: timedelta = MAX_AGE,
    session_max_age: timedelta = SESSION_MAX_AGE,
) -> TokenServices:
    """The token services on an open central database."""
    signing_keys = SigningKeys(CentralSigningKeys(central), changes, secret, max_age=signing_key_max_age)
    jwts = Jwts(signing_keys, public_url)
    pairs = TokenPairs(CentralRefreshTokens(central), sessions, jwts, secret)
    api_keys = ApiKeys(CentralApiKeys(central))
    return TokenServices(
        signing_keys=signing_keys,
        jwts=jwts,
        pairs=pairs,
        api_keys=api_keys,
        token_subjects=TokenSubjects(CentralTokenSubjects(central, session_max_age), changes),
        recognition=Recognition(sessions, pairs, api_keys),
    )
