"""HTTP bodies, as structs that the service encodes and the client SDK decodes.

Field names are those of the contract: camelCase where it uses that, else as they are here.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from freehold.profiles import Profile

SchemaVersion = Annotated[int, Meta(ge=0, le=9_999, description="A version of the tenant schema; 0 is empty.")]

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
    """Whether the client must migrate first; if so, `requiredMigrations` lists the migrations, oldest first."""

    status: Literal["latest", "update_required"]
    current_version: int
    client_version: int
    required_migrations: list[MigrationScript] | None = None


class RegisterRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of `POST /migrations/register`."""

    sql_script: Annotated[str, Meta(min_length=1, description="SQL statements, without BEGIN and COMMIT.")]
    description: Annotated[
        str, Meta(min_length=1, max_length=200, description="A few words, from which the name is made.")
    ]


class RegisteredMigration(MigrationScript, frozen=True, kw_only=True):
    """Response of `POST /migrations/register`."""

    name: str
    chain: str


_Base64url = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,128}\Z")]
_Whole = Annotated[int, Meta(ge=0, le=2**53)]


class ReleaseState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The signed state of a registry; see `MigrationPage`.

    `text` and `text_signature` are those of the new form; a state that was signed in the older form only has neither.
    """

    version: SchemaVersion
    chain: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    counter: _Whole
    expires_at_s: _Whole
    key_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
    signature: _Base64url
    text: Annotated[str, Meta(max_length=16_384)] = ""
    text_signature: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,128}\Z")] = ""


class Release(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `freehold registry sign` writes. `rows` has the signature of each version from 1 on."""

    manifest: ReleaseState
    public_key: _Base64url
    rows: Annotated[tuple[_Base64url, ...], Meta(max_length=9_999)]


class MigrationFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file `NNNN_name.sql`; `version` is NNNN."""

    version: Annotated[int, Meta(ge=1, le=9_999)]
    name: Annotated[str, Meta(pattern=r"^[a-z0-9]+(?:_[a-z0-9]+)*\Z", max_length=100)]
    sql: Annotated[str, Meta(min_length=1)]


class ReleasePart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A further part of the release, such as `app.toml`; `content` is base64."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
    content: bytes
    must_understand: bool = False


class PublishRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /migrations/publish`: a signed release and all the files that it was signed for, from 1 on.

    Unknown fields are refused: a misspelt `dry_run` would publish.
    """

    signed: Release
    migrations: Annotated[tuple[MigrationFile, ...], Meta(min_length=1, max_length=9_999)]
    parts: Annotated[tuple[ReleasePart, ...], Meta(max_length=64)] = ()
    force: bool = False
    dry_run: bool = False


class PublishAnswer(Struct, frozen=True, kw_only=True):
    """Response of `POST /migrations/publish`; with `dry_run`, what it would be.

    `published`: new now; `already`: how many were there with the same SQL; `version`: the newest. `without_file` are
    published but were not sent. `renewed`: the registry has a newer signature now; if not, there was nothing to do.
    """

    published: tuple[int, ...]
    already: int
    version: int
    without_file: tuple[int, ...]
    renewed: bool
    dry_run: bool


class SignedMigration(Struct, frozen=True, kw_only=True):
    """One entry of `MigrationPage`.

    The signature covers `sql` through `checksum` and `chain`. `statements` is the same SQL split up, for clients
    without a SQL parser; run them in one transaction, with foreign keys as in `foreign_keys`.
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
    phase: Literal["expand", "contract"] = "expand"
    min_app: str = ""


class SignedText(Struct, frozen=True, kw_only=True):
    """A release as one text, and the Ed25519 signature over the text's bytes, as unpadded base64url.

    Its lines are the format, `version`, `chain`, `counter`, `expires`, and for each further part of the release, `part`
    or `must`, the part's name and the SHA-256 of its bytes. An SDK refuses a release with a `must` that it does not
    know.
    """

    text: str
    signature: str


class MigrationPage(Struct, frozen=True, kw_only=True):
    """`GET /migrations?after=N`: what comes after N, and the newest version with its signature.

    `release` is what to verify: its text names all that is signed. It is null only if the counter is below 2^52.
    `signature` is the older form, for apps that do not know the text: Ed25519 over
    `freehold-registry-v2\\n<version>\\n<chain>\\n<counter>\\n<expires_at_s>\\n`, as unpadded base64url. `counter` never
    falls: a page with a lower one than before is an old one, replayed. Nothing may be applied after `expires_at_s`
    (seconds since 1970). If nothing is published, all are 0 or empty.

    `withheld` has the checksums of the versions after the last of `migrations`, for which the app's version in the
    header `Freehold-App-Version` is too old; `needs_app` is the version that it needs.
    """

    version: int
    chain: str
    counter: int
    expires_at_s: int
    signature: str
    key_id: str
    migrations: tuple[SignedMigration, ...]
    withheld: tuple[str, ...] = ()
    needs_app: str = ""
    release: SignedText | None = None


class KeyWord(Struct, frozen=True, kw_only=True):
    """Another key's statement about this one: Ed25519 over `freehold-registry-key-v1\\n<kind>\\n<subject>\\n`.

    The subject is the public key if it is endorsed, its id if it is retired.
    """

    by_key_id: str
    signature: str


class PublicKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of `GET /migrations/keys`. `public_key` is the raw key as unpadded base64url.

    `endorsed` is the statement of its predecessor: clients that trust that key trust this one, too. `retired` is the
    statement of its successor: this key no longer signs.
    """

    key_id: str
    algorithm: Literal["ed25519"]
    public_key: str
    endorsed: KeyWord | None = None
    retired: KeyWord | None = None


# Auth --------------------------------------------------------------------------------------------


class SignedIn(Struct, frozen=True, kw_only=True):
    """The user in the responses of `/api/auth/sign-up/email` and `/api/auth/sign-in/email`, which have more fields."""

    id: str
    email: str
    name: str


# Databases ---------------------------------------------------------------------------------------


# Older clients' form of a profile: `full` stands for `rows` too.
AccessLevel = Literal["full", "read_only"]


class DatabaseCredentials(Struct, frozen=True, kw_only=True):
    """`GET /databases/user`: where the user's database is, and a short-lived token that opens it.

    `url` is for official libSQL clients; `expires_at` is ISO-8601 in UTC. `profile` is what the token really allows:
    `none`, `read_only`, `rows` (reading and writing rows) or `full` (changing the schema too). Services from before
    profiles send none; then `access_level` decides, whose `full` stands for `rows` too.
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
    profile: Profile | None = None

    def __repr__(self) -> str:
        return f"DatabaseCredentials(url={self.url!r}, access_token='***', expires_at={self.expires_at!r})"
