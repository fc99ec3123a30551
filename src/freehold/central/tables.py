"""Tables of the central database. `migrations/` builds exactly these; a test compares them.

The auth tables are better-auth's, column for column: dates are ISO-8601 text in UTC with three fractional
digits and `Z`, booleans 0 or 1. Source: better-auth 1.7.7's own SQLite migration.
"""

from typing import Any

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_name)s_idx",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    }
)


def _table(name: str, *columns: SchemaItem, **more: Any) -> Table:
    return Table(name, metadata, *columns, **more)


def _needed(kind: type[TypeEngine[Any]], *names: str) -> list[Column[Any]]:
    return [Column(name, kind, nullable=False) for name in names]


def _optional(kind: type[TypeEngine[Any]], *names: str) -> list[Column[Any]]:
    return [Column(name, kind) for name in names]


user = _table(
    "user",
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("emailVerified", Integer, nullable=False),
    Column("image", Text),
    *_needed(Text, "createdAt", "updatedAt"),
    Column("role", Text),
    Column("banned", Integer),
    *_optional(Text, "banReason", "banExpires"),
    Column("isAnonymous", Integer),
)

session = _table(
    "session",
    Column("id", Text, primary_key=True),
    Column("expiresAt", Text, nullable=False),
    Column("token", Text, nullable=False, unique=True),
    *_needed(Text, "createdAt", "updatedAt"),
    *_optional(Text, "ipAddress", "userAgent"),
    Column("userId", Text, ForeignKey("user.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("impersonatedBy", Text),
)

account = _table(
    "account",
    Column("id", Text, primary_key=True),
    *_needed(Text, "accountId", "providerId"),
    Column("userId", Text, ForeignKey("user.id", ondelete="CASCADE"), nullable=False, index=True),
    *_optional(Text, "accessToken", "refreshToken", "idToken", "accessTokenExpiresAt", "refreshTokenExpiresAt"),
    *_optional(Text, "scope", "password"),
    *_needed(Text, "createdAt", "updatedAt"),
    # Not in better-auth: the address that the issuer vouched for at a sign-in with this identity. Empty if it never
    # has; NULL if unknown: in older and in imported rows.
    Column("vouchedFor", Text),
    # Not in better-auth: two concurrent callbacks must not give one identity to two users.
    Index("account_providerId_accountId_idx", "providerId", "accountId", unique=True),
)

# Codes, links and states for one use, until they expire. Secrets are stored only as hashes.
verification = _table(
    "verification",
    Column("id", Text, primary_key=True),
    Column("identifier", Text, nullable=False, index=True),
    Column("value", Text, nullable=False),
    # Indexed, unlike better-auth's: each writer deletes a few long-expired rows.
    Column("expiresAt", Text, nullable=False, index=True),
    *_needed(Text, "createdAt", "updatedAt"),
)

# A guest who signed in to an existing account, whose user may open the guest's database and delete it.
guest_link = _table(
    "guest_link",
    Column("guest_id", Text, ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Text, ForeignKey("user.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", Text, nullable=False),
)

jwks = _table(
    "jwks",
    Column("id", Text, primary_key=True),
    *_needed(Text, "publicKey", "privateKey", "createdAt"),
    *_optional(Text, "expiresAt", "alg", "crv"),
)

apikey = _table(
    "apikey",
    Column("id", Text, primary_key=True),
    Column("configId", Text, nullable=False, index=True),
    *_optional(Text, "name", "start"),
    Column("referenceId", Text, ForeignKey("user.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("prefix", Text),
    # SHA-256 of the whole key.
    Column("key", Text, nullable=False, index=True),
    *_optional(Integer, "refillInterval", "refillAmount"),
    Column("lastRefillAt", Text),
    *_optional(
        Integer, "enabled", "rateLimitEnabled", "rateLimitTimeWindow", "rateLimitMax", "requestCount", "remaining"
    ),
    *_optional(Text, "lastRequest", "expiresAt"),
    *_needed(Text, "createdAt", "updatedAt"),
    *_optional(Text, "permissions", "metadata"),
)

# All refresh tokens of a session form a family: all but the newest are used, and they are deleted with the session.
refresh_token = _table(
    "refresh_token",
    Column("token_hash", Text, primary_key=True),
    Column("session_id", Text, ForeignKey("session.id", ondelete="CASCADE"), nullable=False, index=True),
    *_needed(Text, "created_at", "expires_at"),
    Column("used_at", Text),
)

tenant = _table(
    "tenant",
    Column("id", Text, primary_key=True),
    # No foreign key: the tenant outlives its user until the provider has confirmed that the database is gone.
    Column("user_id", Text, nullable=False, unique=True),
    Column("database_name", Text, nullable=False, unique=True),
    *_needed(Text, "provider", "state"),
    Column("schema_version", Integer, nullable=False),
    Column("error", Text),
    Column("attempts", Integer, nullable=False),
    # When a provisioner may claim it (again), in milliseconds since 1970; NULL when there is nothing to do.
    Column("due_at_ms", Integer),
    *_needed(Text, "created_at", "updated_at"),
    Index("tenant_due_at_ms_idx", "due_at_ms"),
    Index("tenant_state_idx", "state", "id"),
)

# Databases without a tenant: being made or kept (`making`, until `due_at_ms`), ready in the pool (`waiting`), or to be
# deleted (`discarded`). A name is here or in `tenant` before its provider is asked to create it, and is removed only
# when the provider has confirmed that it is gone.
unowned_database = _table(
    "unowned_database",
    Column("name", Text, primary_key=True),
    *_needed(Text, "provider", "state"),
    Column("tenant_id", Text),
    Column("schema_version", Integer, nullable=False),
    *_optional(Text, "chain", "fingerprint", "error"),
    Column("attempts", Integer, nullable=False),
    Column("due_at_ms", Integer),
    *_needed(Text, "created_at", "updated_at"),
    Index("unowned_database_due_at_ms_idx", "due_at_ms"),
    Index("unowned_database_state_idx", "state"),
)

published_migration = _table(
    "published_migration",
    Column("version", Integer, primary_key=True, autoincrement=False),
    *_needed(Text, "name", "description", "sql", "checksum"),
    Column("chain", Text, nullable=False, unique=True),
    *_needed(Text, "key_id", "signature", "created_at"),
)

registry_key = _table(
    "registry_key", Column("key_id", Text, primary_key=True), *_needed(Text, "public_key", "created_at")
)

# The newest row is the current state of the registry; older ones are kept so that their counters are never reused.
registry_manifest = _table(
    "registry_manifest",
    Column("counter", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("chain", Text, nullable=False),
    Column("expires_at_s", Integer, nullable=False),
    *_needed(Text, "key_id", "signature"),
    # Empty in states from before there was such a text.
    Column("text", Text, nullable=False, server_default=""),
    Column("text_signature", Text, nullable=False, server_default=""),
)

registry_part = _table(
    "registry_part", Column("sha256", Text, primary_key=True), Column("content", LargeBinary, nullable=False)
)

registry_key_statement = _table(
    "registry_key_statement",
    Column("key_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),  # endorsed, retired
    *_needed(Text, "by_key_id", "signature"),
)

# What apps report while nobody is signed in, one row per device. `place` is a keyed hash of an address.
client_report = _table(
    "client_report",
    Column("device", Text, primary_key=True),
    Column("app_version", Text, nullable=False),
    *_needed(Integer, "schema_version", "seen_at_ms"),
    Column("place", Text, nullable=False, server_default=""),
    Index("client_report_seen_at_ms_idx", "seen_at_ms"),
    Index("client_report_place_idx", "place", "seen_at_ms"),
)

# What the apps of signed-in users report, for a few devices each. `app_order` sorts like versions.
user_report = _table(
    "user_report",
    Column("user_id", Text, ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("device", Text, primary_key=True),
    *_needed(Text, "app_version", "app_order"),
    *_needed(Integer, "schema_version", "seen_at_ms"),
    Index("user_report_seen_at_ms_idx", "seen_at_ms"),
)

# One row for each database whose tokens were ever rotated.
token_rotation = _table(
    "token_rotation",
    Column("database_name", Text, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("rotated_at", Text, nullable=False),
)

rollout = _table(
    "rollout",
    Column("id", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("to_version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    *_needed(Integer, "wave", "waves", "tenants", "budget"),
    *_needed(Text, "options", "created_at", "updated_at"),
)

rollout_step = _table(
    "rollout_step",
    Column("rollout_id", Text, ForeignKey("rollout.id", ondelete="CASCADE"), primary_key=True),
    Column("tenant_id", Text, primary_key=True),
    Column("wave", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("from_version", Integer, nullable=False),
    Column("version", Integer),
    *_optional(Text, "error", "cause"),
    *_needed(Integer, "attempts", "requests", "duration_ms"),
    # When a worker may claim it (again), in milliseconds since 1970; NULL when it has ended.
    Column("due_at_ms", Integer),
    Column("restore_point", Text),
    # The names of the databases that were replaced when the tenant was restored, joined by spaces.
    Column("set_aside", Text),
    Index("rollout_step_due_idx", "rollout_id", "wave", "due_at_ms"),
    Index("rollout_step_state_idx", "rollout_id", "state", "wave"),
)

# The workers on a rollout: each renews `until_ms` while it is at work.
rollout_worker = _table(
    "rollout_worker",
    Column("id", Text, primary_key=True),
    Column("rollout_id", Text, ForeignKey("rollout.id", ondelete="CASCADE"), nullable=False),
    Column("until_ms", Integer, nullable=False),
)

# The feed that `central/changes.py` follows; written and pruned only by triggers (see migrations/).
change = _table(
    "change",
    Column("seq", Integer, primary_key=True, autoincrement=True),
    *_needed(Text, "topic", "key"),
    sqlite_autoincrement=True,
)

# The audit trail, see docs/audit.md. Rows can be added only through the view `audit_append`; triggers reject other
# writes.
audit_entry = _table(
    "audit_entry",
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("action", Text, nullable=False, index=True),
    Column("actor", Text, nullable=False, index=True),
    Column("target", Text, nullable=False, index=True),
    *_needed(Text, "ip_address", "request_id", "details", "hash"),
)

# One row: the newest entry, sealed with a key that is not in the database.
audit_head = _table(
    "audit_head",
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, nullable=False),
    *_needed(Text, "hash", "seal"),
)

# Wrong passwords per address, and per address and place; keys are keyed hashes, see `auth.lockout`. Unknown addresses
# have rows too.
wrong_password = _table(
    "wrong_password",
    Column("key", Text, primary_key=True),
    *_needed(Integer, "failures", "failed_at_ms", "locked_until_ms", "succeeded_at_ms"),
)
