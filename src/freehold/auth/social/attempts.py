"""One try to sign in elsewhere: its state, and the secrets that come from it."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from freehold.auth.social.types import Question


@dataclass(frozen=True, slots=True)
class Secrets:
    """Derives what a try needs from its state, so that nothing secret is stored meanwhile.

    Who reads the central database learns a hash of the state; who sees the state, in some URL, lacks the key.
    """

    key: bytes

    def new_state(self) -> str:
        """32 characters of `A-Za-z0-9_-`, 192 bits."""
        return secrets.token_urlsafe(24)

    def question(self, state: str, redirect_uri: str, login_hint: str = "") -> Question:
        """What to ask the provider with; the same for the same state."""
        return Question(
            state=state,
            nonce=self._derived("nonce", state)[:43],
            code_verifier=self._derived("pkce", state),
            redirect_uri=redirect_uri,
            login_hint=login_hint,
        )

    def row_key(self, state: str) -> str:
        """Under which the try is kept."""
        return hashlib.sha256(state.encode()).hexdigest()

    def _derived(self, purpose: str, state: str) -> str:
        # 86 characters; RFC 7636 wants 43 to 128.
        digest = hmac.digest(self.key, f"social {purpose}\0{state}".encode(), "sha512")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
