"""Proofs that an address is someone's, and what of its account is known to be theirs.

Whoever signs up with an address need not be its owner. So the first proof of it ends every way in that was there
before, whoever made it: password, identities, sessions, API keys, codes and links that wait. What stays is what the
proof itself shows to be the owner's, and is said in `Kept`. The database and its rows stay in any case. A reset of
the password does the same to accounts that were proved before, whose intruder may be a thief.
See "The owner arrives" in docs/security.md.
"""

from typing import Literal

import msgspec

from freehold.auth.types import Credential, SignedIn, User
from freehold.auth.verifications import OneTimeUse

Way = Literal[
    "verify-link", "verify-code", "sign-in-code", "reset-link", "reset-code", "change-link", "change-code", "issuer"
]
"""How an address was proved. `tests/integration/test_arrival.py` walks all of them."""

RESETS: frozenset[Way] = frozenset({"reset-link", "reset-code"})


class Chosen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What someone chose in a sign-up or a reset, and gets with the proof."""

    password_hash: str
    name: str | msgspec.UnsetType = msgspec.UNSET
    image: str | msgspec.UnsetType | None = msgspec.UNSET

    def __repr__(self) -> str:
        return "Chosen(***)"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is known to be the owner's own: sessions by id, a password by its hash, an identity by both its names."""

    session_ids: tuple[str, ...] = ()
    password_hash: str | None = None
    identity: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return "Kept(***)"


NOTHING = Kept()


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """A proof, to be written down. It counts only if its one-time use, where there is one, is not used up.

    `asked_by`: the session that asked for it, and must still be there.
    `new_email`: the address that is proved, where it is to replace the present one.
    """

    way: Way
    one_time_use: OneTimeUse | None = None
    kept: Kept = NOTHING
    chosen: Chosen | None = None
    asked_by: str = ""
    new_email: str = ""


class Proved(msgspec.Struct, frozen=True, kw_only=True):
    """The user now, and whether it was the first proof of their address."""

    user: User
    is_first: bool


def in_hand(asking: SignedIn | None, found: Credential) -> Kept:
    """What is the owner's if whoever proves the address does so in a session of the account: that, and its password.

    Until an address is proved, nobody gets a session of its account but by its password or its identity. An
    administrator who acts as the user proves nothing.
    """
    if asking is None or asking.user_id != found.user.user_id or asking.session.impersonated_by is not None:
        return NOTHING
    return Kept(session_ids=(asking.session_id,), password_hash=found.password_hash)
