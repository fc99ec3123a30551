"""Proofs that an address belongs to a user, and what they revoke.

Someone may sign up with an address that is not theirs. So the first proof of an address revokes every earlier way to
sign in to its account: password, identities, sessions, API keys, pending codes and links. Only what the proof itself
shows to be the owner's is kept, see `Kept`; the database and its rows always are. A password reset does the same to
accounts that were proved before, which may have been broken into. See "The owner arrives" in docs/security.md.
"""

from typing import Literal

import msgspec

from freehold.auth.types import Credential, SignedIn, User
from freehold.auth.verifications import OneTimeUse

Way = Literal[
    "verify-link", "verify-code", "sign-in-code", "reset-link", "reset-code", "change-link", "change-code", "issuer"
]
"""How an address was proved. `tests/integration/test_arrival.py` covers every way."""

RESETS: frozenset[Way] = frozenset({"reset-link", "reset-code"})


class Chosen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What someone chose in a sign-up or a reset; applied with the proof."""

    password_hash: str
    name: str | msgspec.UnsetType = msgspec.UNSET
    image: str | msgspec.UnsetType | None = msgspec.UNSET

    def __repr__(self) -> str:
        return "Chosen(***)"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is known to be the owner's: sessions by id, a password by hash, an identity by provider and subject."""

    session_ids: tuple[str, ...] = ()
    password_hash: str | None = None
    identity: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return "Kept(***)"


NOTHING = Kept()


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """A proof to record. It counts only if its one-time use, if any, is not used up.

    `asked_by`: the session that asked for it, which must still exist.
    `new_email`: the address that is proved, if it replaces the current one.
    """

    way: Way
    one_time_use: OneTimeUse | None = None
    kept: Kept = NOTHING
    chosen: Chosen | None = None
    asked_by: str = ""
    new_email: str = ""


class Proved(msgspec.Struct, frozen=True, kw_only=True):
    """The user after the proof, and whether it was the first proof of their address."""

    user: User
    is_first: bool


def in_hand(asking: SignedIn | None, found: Credential) -> Kept:
    """The asking session and the password, which are the owner's if the proof is given in a session of the account.

    Until an address is proved, only its password or identity opens a session of its account. Administrators who
    impersonate the user prove nothing.
    """
    if asking is None or asking.user_id != found.user.user_id or asking.session.impersonated_by is not None:
        return NOTHING
    return Kept(session_ids=(asking.session_id,), password_hash=found.password_hash)
