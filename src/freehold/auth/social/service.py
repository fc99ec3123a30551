"""Sign-in with GitHub, Google or any OpenID Connect issuer."""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from msgspec.structs import replace

from freehold.auth.errors import Banned, EmailTaken, IdentityTaken
from freehold.auth.service import Auth
from freehold.auth.social.errors import IdentityProviderUnavailable, SocialRefusal, UnknownProvider
from freehold.auth.social.types import Arrival, Attempt, Identity, Question, Redirects, Returned, Started
from freehold.auth.types import USER_ROLE, Client, NewUser, SignedIn, User
from freehold.errors import NotFound
from freehold.log import get_logger

_LIFETIME = timedelta(minutes=10)
_TRIES = 3  # in a race for the same address or identity; each loser finds the winner's row
_ERROR_CODE = re.compile(r"[a-z0-9_.-]{1,64}", re.IGNORECASE)

log = get_logger()


class IdentityProvider(Protocol):
    """Identifies users. Every call is limited in time and size."""

    @property
    def provider_id(self) -> str:
        """The provider's name in URLs and in accounts."""

    async def authorize_url(self, question: Question) -> str:
        """Where to send the browser. Raises `IdentityProviderUnavailable`."""

    async def identify(self, code: str, issuer: str, question: Question) -> Identity:
        """The user that the code stands for. `issuer` is the issuer in the response (RFC 9207), or empty.

        Raises:
            SocialRefusal: `issuer_mismatch`, `issuer_missing`, `invalid_code`, `unable_to_get_user_info`,
                `email_not_found`.
            IdentityProviderUnavailable: no answer within the limits.
        """


class SocialStore(Protocol):
    """Pending sign-ins, and the users that identities belong to. All methods raise `CentralUnavailable`."""

    async def save_attempt(self, key: str, attempt: Attempt, now: datetime, expires_at: datetime) -> None: ...

    async def find_attempt(self, key: str, now: datetime) -> Attempt | None:
        """The attempt, if it has not expired or been used up."""

    async def take_attempt(self, key: str, now: datetime) -> bool:
        """Use up the attempt. Only one of two callers gets True."""

    async def find_user(self, provider_id: str, subject: str) -> User | None:
        """The user who has this identity."""

    async def link_vouched(self, identity: Identity, user_id: str, now: datetime) -> User | None:
        """Add the identity to the user with its address, which its issuer vouches for.

        Returns the user after that; None if their address has changed. If the address was not proved before, this is
        its first proof, see `freehold.auth.proofs`.

        Raises:
            IdentityTaken: another user has taken it.
        """

    async def link(self, identity: Identity, asking: SignedIn, now: datetime) -> None:
        """Add the identity to the user who asked for it; does nothing if they already have it.

        Its issuer vouches for the user's address, so this proves it: see `freehold.auth.proofs`.

        Raises:
            SocialRefusal: `account_already_linked_to_different_user`, or `state_mismatch` if the session has ended.
        """

    async def prove(self, identity: Identity, user: User, now: datetime) -> bool:
        """Mark the address as proved by the identity's issuer. False if the user no longer has one of the two."""

    async def owns(self, account_row_id: str, user_id: str) -> bool:
        """Whether this is one of the user's accounts."""

    async def unlink(self, account_row_id: str, user_id: str) -> None:
        """Remove one of the user's accounts.

        Raises:
            LastAccount: it is the only one.
            AccountNotFound: the user has no such account.
        """


@dataclass(frozen=True, slots=True)
class Secrets:
    """Derives an attempt's secrets from its state, so that none of them is stored.

    The central database has only a hash of the state; and the state in a URL is useless without the key.
    """

    key: bytes

    def new_state(self) -> str:
        """32 characters of `A-Za-z0-9_-`, 192 bits."""
        return secrets.token_urlsafe(24)

    def question(self, state: str, redirect_uri: str, login_hint: str = "") -> Question:
        """The question for the provider; the same for the same state."""
        return Question(
            state=state,
            nonce=self._derived("nonce", state)[:43],
            code_verifier=self._derived("pkce", state),
            redirect_uri=redirect_uri,
            login_hint=login_hint,
        )

    def row_key(self, state: str) -> str:
        """The key that the attempt is stored under."""
        return hashlib.sha256(state.encode()).hexdigest()

    def _derived(self, purpose: str, state: str) -> str:
        # 86 characters; RFC 7636 allows 43 to 128.
        digest = hmac.digest(self.key, f"social {purpose}\0{state}".encode(), "sha512")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Social:
    """Sends browsers to providers and handles their return. `base_url` is the public URL of `/api/auth`."""

    auth: Auth
    providers: Mapping[str, IdentityProvider]
    store: SocialStore
    secrets: Secrets
    base_url: str

    async def start(
        self,
        provider_id: str,
        redirects: Redirects,
        *,
        link_user_id: str = "",
        guest_id: str = "",
        login_hint: str = "",
    ) -> Started:
        """Start an attempt; the caller has checked that `redirects` are safe.

        Raises:
            UnknownProvider: it is not configured.
            IdentityProviderUnavailable: it does not answer.
        """
        provider = self.providers.get(provider_id)
        if provider is None:
            raise UnknownProvider
        state = self.secrets.new_state()
        url = await provider.authorize_url(self.secrets.question(state, self._redirect_uri(provider_id), login_hint))
        attempt = Attempt(provider_id=provider_id, redirects=redirects, link_user_id=link_user_id, guest_id=guest_id)
        now = self.auth.clock()
        await self.store.save_attempt(self.secrets.row_key(state), attempt, now, now + _LIFETIME)
        return Started(url=url, state=state)

    async def finish(
        self, provider_id: str, returned: Returned, cookie_state: str | None, client: Client, signed_in: SignedIn | None
    ) -> Arrival:
        """The URL to redirect a returning browser to, and its new session if it gets one.

        `cookie_state` is from the browser's signed cookie, `signed_in` its session, if any.

        Raises:
            CentralUnavailable: the central database does not answer.
        """
        if not returned.state:
            return Arrival(url=self._error_url("state_not_found"))
        key, now = self.secrets.row_key(returned.state), self.auth.clock()
        attempt = await self.store.find_attempt(key, now)
        # A browser other than the one that started gets an error and does not use up the attempt.
        is_bound = attempt is not None and cookie_state == returned.state
        if attempt is None or not is_bound or not await self.store.take_attempt(key, now):
            return Arrival(url=self._error_url("state_mismatch", attempt))
        try:
            return await self._finish(provider_id, attempt, returned, client, signed_in)
        except SocialRefusal as refusal:
            log.info("user.social_sign_in_refused", provider=attempt.provider_id, reason=str(refusal))
            reason = refusal.reason
        except IdentityProviderUnavailable as error:
            log.warning("identity_provider.unavailable", provider=attempt.provider_id, reason=str(error))
            reason = "temporarily_unavailable"
        except Banned:
            reason = "banned"
        return Arrival(url=self._error_url(reason, attempt), is_over=True)

    async def unlink(self, asking: SignedIn, account_row_id: str) -> None:
        """Remove one of the caller's accounts.

        Raises:
            SessionNotFresh: the sign-in is not recent.
            LastAccount, AccountNotFound: see `SocialStore.unlink`.
        """
        self.auth.require_fresh(asking)
        await self.store.unlink(account_row_id, asking.user_id)

    async def _finish(
        self, provider_id: str, attempt: Attempt, returned: Returned, client: Client, signed_in: SignedIn | None
    ) -> Arrival:
        if attempt.provider_id != provider_id:
            raise SocialRefusal("state_mismatch", "the browser came back from another provider")
        if attempt.link_user_id and (signed_in is None or signed_in.user_id != attempt.link_user_id):
            raise SocialRefusal("state_mismatch", "the browser is not signed in as the user who started the linking")
        if returned.error:
            code = returned.error if _ERROR_CODE.fullmatch(returned.error) else "invalid_callback_request"
            raise SocialRefusal(code, "the provider refused")
        if not returned.code:
            raise SocialRefusal("no_code", "the provider returned no code")
        provider = self.providers.get(provider_id)
        if provider is None:
            raise SocialRefusal("oauth_provider_not_found", "the provider is no longer configured")
        question = self.secrets.question(returned.state, self._redirect_uri(provider_id))
        identity = await provider.identify(returned.code, returned.issuer, question)
        usual = attempt.redirects.callback_url or "/"
        if signed_in is not None and attempt.link_user_id:
            await self._link(identity, signed_in)
            return Arrival(url=usual, is_over=True)
        found, is_new = await self._sign_in(identity, replace(client, guest_id=attempt.guest_id))
        url = attempt.redirects.new_user_url or usual if is_new else usual
        return Arrival(url=url, is_over=True, signed_in=found)

    async def _sign_in(self, identity: Identity, client: Client) -> tuple[SignedIn, bool]:
        """A session for the identity's user, and whether the user was just created."""
        for _ in range(_TRIES):
            try:
                user = await self._user_of(identity)
                if user is not None:
                    method = f"social:{identity.provider_id}"
                    started = await self.auth.start_session(user, client, method=method, identity=identity)
                    return started, False
                return await self.auth.start_user(self._new_user(identity), client, identity=identity), True
            except (EmailTaken, IdentityTaken, NotFound):
                continue
        raise SocialRefusal("temporarily_unavailable", "too many concurrent sign-ins with this address or identity")

    async def _user_of(self, identity: Identity) -> User | None:
        """The user who has the identity, or has just been given it; None if a new user must be created.

        Raises:
            SocialRefusal: `account_not_linked`: a user has the address, and the provider does not vouch for it.
            NotFound: someone changed or took the address at the same time.
        """
        now = self.auth.clock()
        user = await self.store.find_user(identity.provider_id, identity.subject)
        if user is not None:
            if identity.email_verified and not user.email_verified and identity.email == user.email:
                if not await self.store.prove(identity, user, now):
                    raise NotFound("the user has another address by now, or not this identity")
                return replace(user, email_verified=True)
            return user
        found = await self.auth.store.find_credential(identity.email)
        if found is None:
            return None
        if not identity.email_verified:
            raise SocialRefusal("account_not_linked", "there is a user with this address, who must sign in first")
        owner = await self.store.link_vouched(identity, found.user.user_id, now)
        if owner is None:
            raise NotFound("the user has another address by now")
        return owner

    async def _link(self, identity: Identity, asking: SignedIn) -> None:
        if not identity.email_verified:
            raise SocialRefusal("unable_to_link_account", "the provider does not vouch for the address")
        if identity.email != asking.user.email:
            raise SocialRefusal("email_does_not_match", "the provider knows another address of this user")
        await self.store.link(identity, asking, self.auth.clock())
        log.info("user.social_account_linked", user_id=asking.user_id, provider=identity.provider_id)

    def _new_user(self, identity: Identity) -> User:
        new = NewUser(name=identity.name, email=identity.email, password="", image=identity.image)
        user = self.auth.new_user(new, USER_ROLE, self.auth.clock())
        return replace(user, email_verified=identity.email_verified)

    def _redirect_uri(self, provider_id: str) -> str:
        return f"{self.base_url}/callback/{provider_id}"

    def _error_url(self, reason: str, attempt: Attempt | None = None) -> str:
        url = attempt.redirects.error_url if attempt is not None else ""
        parts = urlsplit(url or f"{self.base_url}/error")
        query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), ("error", reason)])
        return urlunsplit(parts._replace(query=query))
