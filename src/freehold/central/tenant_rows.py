"""The tenant row that is written in its user's transaction: the name is chosen before any provider is asked."""

from datetime import datetime
from typing import Any

from freehold.auth.dates import to_iso
from freehold.auth.tokens import random_id
from freehold.tenants.names import new_database_name


def new_tenant_row(user_id: str, provider: str, now: datetime) -> dict[str, Any]:
    """A row of `tenant` that is due for provisioning at once."""
    return {
        "id": random_id(),
        "user_id": user_id,
        "database_name": new_database_name(),
        "provider": provider,
        "state": "provisioning",
        "schema_version": 0,
        "error": None,
        "attempts": 0,
        "due_at_ms": int(now.timestamp() * 1000),
        "created_at": to_iso(now),
        "updated_at": to_iso(now),
    }
