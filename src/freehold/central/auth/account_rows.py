"""The rows that say how a user signs in, written in the transaction that makes the user."""

from typing import Any

from freehold.auth.random_ids import random_id
from freehold.auth.social.types import Identity

CREDENTIAL = "credential"


def account_row(
    user_id: str,
    provider_id: str,
    account_id: str,
    now: str,
    *,
    password_hash: str | None = None,
    scope: str | None = None,
    vouched_for: str | None = None,
) -> dict[str, Any]:
    """A way to sign in. Without any token of a provider: see docs/decisions/0019-social-sign-in.md."""
    return {
        "id": random_id(),
        "accountId": account_id,
        "providerId": provider_id,
        "userId": user_id,
        "password": password_hash,
        "scope": scope,
        "vouchedFor": vouched_for,
        "createdAt": now,
        "updatedAt": now,
    }


def password_row(user_id: str, password_hash: str, now: str) -> dict[str, Any]:
    return account_row(user_id, CREDENTIAL, user_id, now, password_hash=password_hash)


def identity_row(user_id: str, identity: Identity, now: str) -> dict[str, Any]:
    return account_row(
        user_id,
        identity.provider_id,
        identity.subject,
        now,
        scope=",".join(identity.scopes),
        vouched_for=identity.email if identity.email_verified else "",
    )
