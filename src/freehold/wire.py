"""What crosses HTTP, as structs that the service encodes and the client SDK decodes.

Field names are those of the contract: camelCase where it says so, else as they are here.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

SchemaVersion = Annotated[
    int, Meta(ge=0, le=9_999, description="A version of the tenant schema; 0 is empty.")
]

# Schema registry ---------------------------------------------------------------------------------


class CurrentVersion(Struct, frozen=True):
    """`GET /migrations/current-version`."""

    version: int


class MigrationScript(Struct, frozen=True, kw_only=True):
    """One entry of `GET /migrations/full`: the whole script. `checksum` is the hex SHA-256 of `sql_script`."""

    version: int
    description: str
    sql_script: str
    checksum: str
    created_at: str


class VerifyRequest(Struct, frozen=True):
    """Body of `POST /migrations/verify`: the version that the client's database is at."""

    version: SchemaVersion


class VerifyAnswer(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Whether the client must migrate first. `requiredMigrations` is there when it must, oldest first."""

    status: Literal["latest", "update_required"]
    current_version: int
    client_version: int
    required_migrations: list[MigrationScript] | None = None


class RegisterRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of `POST /migrations/register`."""

    sql_script: Annotated[str, Meta(min_length=1, description="SQL statements, without BEGIN and COMMIT.")]
    description: Annotated[
        str, Meta(min_length=1, max_length=200, description="A few words; the name is made from them.")
    ]


class RegisteredMigration(MigrationScript, frozen=True, kw_only=True):
    """Answer of `POST /migrations/register`."""

    name: str
    chain: str


class SignedMigration(Struct, frozen=True, kw_only=True):
    """One entry of `MigrationPage`.

    The signature covers `sql` by way of `checksum` and `chain`. `statements` is the same SQL cut up, for
    clients that have no SQL parser; run them with foreign keys as `foreign_keys` says, in one transaction.
    """

    version: int
    name: str
    description: str
    sql: str
    checksum: str
    chain: str
    statements: tuple[str, ...]
    foreign_keys: Literal["on", "off"]
    created_at: str


class MigrationPage(Struct, frozen=True, kw_only=True):
    """`GET /migrations?after=N`: what comes after N, and the newest version with its signature.

    `signature` is Ed25519 over `freehold-registry-v1\\n<version>\\n<chain>\\n`, as unpadded base64url. With
    nothing published, `version` is 0 and `chain`, `signature` and `key_id` are empty.
    """

    version: int
    chain: str
    signature: str
    key_id: str
    migrations: tuple[SignedMigration, ...]


class PublicKey(Struct, frozen=True, kw_only=True):
    """One entry of `GET /migrations/keys`. `public_key` is the raw key as unpadded base64url."""

    key_id: str
    algorithm: Literal["ed25519"]
    public_key: str


# Auth --------------------------------------------------------------------------------------------


class SignedIn(Struct, frozen=True, kw_only=True):
    """The user in the answers of `/api/auth/sign-up/email` and `/api/auth/sign-in/email`; more fields are there."""

    id: str
    email: str
    name: str


# Databases ---------------------------------------------------------------------------------------


AccessLevel = Literal["full", "read_only"]


class DatabaseCredentials(Struct, frozen=True, kw_only=True):
    """`GET /databases/user`: where the user's database is, and a short-lived token that opens it.

    `url` is what official libSQL clients take; `expires_at` is ISO-8601 in UTC.
    """

    id: str
    user_id: str
    db_id: str
    db_name: str
    hostname: str
    url: str
    access_token: str
    access_level: AccessLevel
    expires_at: str
    schema_version: int
    status: str

    def __repr__(self) -> str:
        return f"DatabaseCredentials(url={self.url!r}, access_token='***', expires_at={self.expires_at!r})"
