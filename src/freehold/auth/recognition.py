"""Finds the user of a credential without counting, extending or recording anything."""

from dataclasses import dataclass
from typing import Literal

from freehold.auth.api_keys.service import ApiKeys
from freehold.auth.sessions.sessions import Sessions
from freehold.auth.tokens.refresh import TokenPairs

CredentialKind = Literal["session", "access_token", "api_key"]


@dataclass(frozen=True, slots=True)
class Recognition:
    """Recognises session tokens, access tokens and API keys."""

    sessions: Sessions
    pairs: TokenPairs
    api_keys: ApiKeys

    async def user_id(self, kind: CredentialKind, text: str) -> str | None:
        """The user's id; None if the credential is not valid.

        Raises:
            BadAccessToken: forged, expired, or its session has ended.
            ApiKeyDisabled, ApiKeyExpired: the key must not be used.
            CentralUnavailable: the central database does not answer.
        """
        if kind == "api_key":
            return await self.api_keys.user_id_of(text)
        if kind == "access_token":
            return (await self.pairs.read(text)).user_id
        found = await self.sessions.current(text, extend=False)
        return None if found is None else found.user_id
