"""The rows that say how a user signs in, written in the transaction that makes the user."""

from typing import Any

from freehold.auth.social.types import Identity
from freehold.auth.tokens import random_id

CREDENTIAL = "credential"


def password_row(user_id: str, password_hash: str, now: str) -> dict[str, Any]:
    return {
        "id": random_id(),
        "accountId": user_id,
        "providerId": CREDENTIAL,
        "userId": user_id,
        "password": password_hash,
        "scope": None,
        "createdAt": now,
        "updatedAt": now,
    }


def identity_row(user_id: str, identity: Identity, now: str) -> dict[str, Any]:
    """Without any token of the provider: see docs/decisions/0019-social-sign-in.md."""
    return {
        "id": random_id(),
        "accountId": identity.subject,
        "providerId": identity.provider_id,
        "userId": user_id,
        "password": None,
        "scope": ",".join(identity.scopes),
        "createdAt": now,
        "updatedAt": now,
    }
