"""Tables of the central database. `migrations/` builds exactly these; a test compares them.

The auth tables are better-auth's, column for column: dates are ISO-8601 text in UTC with three fractional
digits and `Z`, booleans 0 or 1. Source: better-auth 1.7.7's own SQLite migration.
"""

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_name)s_idx",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    }
)

user = Table(
    "user",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("emailVerified", Integer, nullable=False),
    Column("image", Text),
    Column("createdAt", Text, nullable=False),
    Column("updatedAt", Text, nullable=False),
    Column("role", Text),
    Column("banned", Integer),
    Column("banReason", Text),
    Column("banExpires", Text),
    Column("isAnonymous", Integer),
)

session = Table(
    "session",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    Column("expiresAt", Text, nullable=False),
    Column("token", Text, nullable=False, unique=True),
    Column("createdAt", Text, nullable=False),
    Column("updatedAt", Text, nullable=False),
    Column("ipAddress", Text),
    Column("userAgent", Text),
    Column("userId", Text, ForeignKey("user.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("impersonatedBy", Text),
)

account = Table(
    "account",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    Column("accountId", Text, nullable=False),
    Column("providerId", Text, nullable=False),
    Column("userId", Text, ForeignKey("user.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("accessToken", Text),
    Column("refreshToken", Text),
    Column("idToken", Text),
    Column("accessTokenExpiresAt", Text),
    Column("refreshTokenExpiresAt", Text),
    Column("scope", Text),
    Column("password", Text),
    Column("createdAt", Text, nullable=False),
    Column("updatedAt", Text, nullable=False),
    # Not in better-auth: the address that the issuer vouched for at a sign-in with this identity. Empty if it never
    # has; NULL if unknown: in older and in imported rows.
    Column("vouchedFor", Text),
    # Not in better-auth: two concurrent callbacks must not give one identity to two users.
    Index("account_providerId_accountId_idx", "providerId", "accountId", unique=True),
)

# Codes, links and states for one use, until they expire. Secrets are stored only as hashes.
verification = Table(
    "verification",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    Column("identifier", Text, nullable=False, index=True),
    Column("value", Text, nullable=False),
    # Indexed, unlike better-auth's: each writer deletes a few long-expired rows.
    Column("expiresAt", Text, nullable=False, index=True),
    Column("createdAt", Text, nullable=False),
    Column("updatedAt", Text, nullable=False),
)

# A guest who signed in to an existing account, whose user may open the guest's database and delete it.
guest_link = Table(
    "guest_link",
    metadata,
    Column("guest_id", Text, ForeignKey("user.id", ondelete="CASCADE"), primary_key=True, nullable=False),
    Column("user_id", Text, ForeignKey("user.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", Text, nullable=False),
)

jwks = Table(
    "jwks",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    Column("publicKey", Text, nullable=False),
    Column("privateKey", Text, nullable=False),
    Column("createdAt", Text, nullable=False),
    Column("expiresAt", Text),
    Column("alg", Text),
    Column("crv", Text),
)

apikey = Table(
    "apikey",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    Column("configId", Text, nullable=False, index=True),
    Column("name", Text),
    Column("start", Text),
    Column("referenceId", Text, ForeignKey("user.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("prefix", Text),
    # SHA-256 of the whole key.
    Column("key", Text, nullable=False, index=True),
    Column("refillInterval", Integer),
    Column("refillAmount", Integer),
    Column("lastRefillAt", Text),
    Column("enabled", Integer),
    Column("rateLimitEnabled", Integer),
    Column("rateLimitTimeWindow", Integer),
    Column("rateLimitMax", Integer),
    Column("requestCount", Integer),
    Column("remaining", Integer),
    Column("lastRequest", Text),
    Column("expiresAt", Text),
    Column("createdAt", Text, nullable=False),
    Column("updatedAt", Text, nullable=False),
    Column("permissions", Text),
    Column("metadata", Text),
)

# All refresh tokens of a session form a family: all but the newest are used, and they are deleted with the session.
refresh_token = Table(
    "refresh_token",
    metadata,
    Column("token_hash", Text, primary_key=True, nullable=False),
    Column("session_id", Text, ForeignKey("session.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", Text, nullable=False),
    Column("expires_at", Text, nullable=False),
    Column("used_at", Text),
)

tenant = Table(
    "tenant",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    # No foreign key: the tenant outlives its user until the provider has confirmed that the database is gone.
    Column("user_id", Text, nullable=False, unique=True),
    Column("database_name", Text, nullable=False, unique=True),
    Column("provider", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("error", Text),
    Column("attempts", Integer, nullable=False),
    # When a provisioner may claim it (again), in milliseconds since 1970; NULL when there is nothing to do.
    Column("due_at_ms", Integer),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Index("tenant_due_at_ms_idx", "due_at_ms"),
    Index("tenant_state_idx", "state", "id"),
)

# Databases without a tenant: being made or kept (`making`, until `due_at_ms`), ready in the pool (`waiting`), or to be
# deleted (`discarded`). A name is here or in `tenant` before its provider is asked to create it, and is removed only
# when the provider has confirmed that it is gone.
unowned_database = Table(
    "unowned_database",
    metadata,
    Column("name", Text, primary_key=True, nullable=False),
    Column("provider", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("tenant_id", Text),
    Column("schema_version", Integer, nullable=False),
    Column("chain", Text),
    Column("fingerprint", Text),
    Column("error", Text),
    Column("attempts", Integer, nullable=False),
    Column("due_at_ms", Integer),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Index("unowned_database_due_at_ms_idx", "due_at_ms"),
    Index("unowned_database_state_idx", "state"),
)

published_migration = Table(
    "published_migration",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("sql", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("chain", Text, nullable=False, unique=True),
    Column("key_id", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("created_at", Text, nullable=False),
)

registry_key = Table(
    "registry_key",
    metadata,
    Column("key_id", Text, primary_key=True, nullable=False),
    Column("public_key", Text, nullable=False),
    Column("created_at", Text, nullable=False),
)

# The newest row is the current state of the registry; older ones are kept so that their counters are never reused.
registry_manifest = Table(
    "registry_manifest",
    metadata,
    Column("counter", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("version", Integer, nullable=False),
    Column("chain", Text, nullable=False),
    Column("expires_at_s", Integer, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("signature", Text, nullable=False),
    # Empty in states from before there was such a text.
    Column("text", Text, nullable=False, server_default=""),
    Column("text_signature", Text, nullable=False, server_default=""),
)

registry_part = Table(
    "registry_part",
    metadata,
    Column("sha256", Text, primary_key=True, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

registry_key_statement = Table(
    "registry_key_statement",
    metadata,
    Column("key_id", Text, primary_key=True, nullable=False),
    Column("kind", Text, primary_key=True, nullable=False),  # endorsed, retired
    Column("by_key_id", Text, nullable=False),
    Column("signature", Text, nullable=False),
)

# What apps report while nobody is signed in, one row per device. `place` is a keyed hash of an address.
client_report = Table(
    "client_report",
    metadata,
    Column("device", Text, primary_key=True, nullable=False),
    Column("app_version", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("seen_at_ms", Integer, nullable=False),
    Column("place", Text, nullable=False, server_default=""),
    Index("client_report_seen_at_ms_idx", "seen_at_ms"),
    Index("client_report_place_idx", "place", "seen_at_ms"),
)

# What the apps of signed-in users report, for a few devices each. `app_order` sorts like versions.
user_report = Table(
    "user_report",
    metadata,
    Column("user_id", Text, ForeignKey("user.id", ondelete="CASCADE"), primary_key=True, nullable=False),
    Column("device", Text, primary_key=True, nullable=False),
    Column("app_version", Text, nullable=False),
    Column("app_order", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("seen_at_ms", Integer, nullable=False),
    Index("user_report_seen_at_ms_idx", "seen_at_ms"),
)

# One row for each database whose tokens were ever rotated.
token_rotation = Table(
    "token_rotation",
    metadata,
    Column("database_name", Text, primary_key=True, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("rotated_at", Text, nullable=False),
)

rollout = Table(
    "rollout",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    Column("provider", Text, nullable=False),
    Column("to_version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("wave", Integer, nullable=False),
    Column("waves", Integer, nullable=False),
    Column("tenants", Integer, nullable=False),
    Column("budget", Integer, nullable=False),
    Column("options", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
)

rollout_step = Table(
    "rollout_step",
    metadata,
    Column("rollout_id", Text, ForeignKey("rollout.id", ondelete="CASCADE"), primary_key=True, nullable=False),
    Column("tenant_id", Text, primary_key=True, nullable=False),
    Column("wave", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("from_version", Integer, nullable=False),
    Column("version", Integer),
    Column("error", Text),
    Column("cause", Text),
    Column("attempts", Integer, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    # When a worker may claim it (again), in milliseconds since 1970; NULL when it has ended.
    Column("due_at_ms", Integer),
    Column("restore_point", Text),
    # The names of the databases that were replaced when the tenant was restored, joined by spaces.
    Column("set_aside", Text),
    Index("rollout_step_due_idx", "rollout_id", "wave", "due_at_ms"),
    Index("rollout_step_state_idx", "rollout_id", "state", "wave"),
)

# The workers on a rollout: each renews `until_ms` while it is at work.
rollout_worker = Table(
    "rollout_worker",
    metadata,
    Column("id", Text, primary_key=True, nullable=False),
    Column("rollout_id", Text, ForeignKey("rollout.id", ondelete="CASCADE"), nullable=False),
    Column("until_ms", Integer, nullable=False),
)

# The feed that `central/changes.py` follows; written and pruned only by triggers (see migrations/).
change = Table(
    "change",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True, nullable=False),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    sqlite_autoincrement=True,
)

# The audit trail, see docs/audit.md. Rows can be added only through the view `audit_append`; triggers reject other
# writes.
audit_entry = Table(
    "audit_entry",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("at", Text, nullable=False),
    Column("action", Text, nullable=False, index=True),
    Column("actor", Text, nullable=False, index=True),
    Column("target", Text, nullable=False, index=True),
    Column("ip_address", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

# One row: the newest entry, sealed with a key that is not in the database.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("hash", Text, nullable=False),
    Column("seal", Text, nullable=False),
)

# Wrong passwords per address, and per address and place; keys are keyed hashes, see `auth.lockout`. Unknown addresses
# have rows too.
wrong_password = Table(
    "wrong_password",
    metadata,
    Column("key", Text, primary_key=True, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("failed_at_ms", Integer, nullable=False),
    Column("locked_until_ms", Integer, nullable=False),
    Column("succeeded_at_ms", Integer, nullable=False),
)
