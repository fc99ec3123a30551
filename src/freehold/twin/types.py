"""The requests and answers of the Platform API; the mixed style of the keys is Turso's.

Source: Turso's OpenAPI description, 2026-06.
"""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field


class Parent(Struct, frozen=True, kw_only=True):
    """The database that another one was branched from. `branched_at` is RFC 3339."""

    id: str
    name: str
    branched_at: str


class Database(Struct, frozen=True, kw_only=True):
    """A database as in `show` and `list`."""

    name: str = field(name="Name")
    db_id: str = field(name="DbId")
    hostname: str = field(name="Hostname")
    block_reads: bool
    block_writes: bool
    allow_attach: bool
    regions: list[str]
    primary_region: str = field(name="primaryRegion")
    type: str
    version: str
    group: str
    is_schema: bool
    schema: str
    archived: bool
    sleeping: bool
    delete_protection: bool
    parent: Parent | None


class NewDatabase(Struct, frozen=True, kw_only=True):
    """The answer of `create`: no group, no region."""

    db_id: str = field(name="DbId")
    hostname: str = field(name="Hostname")
    name: str = field(name="Name")


class Seed(Struct, frozen=True, kw_only=True):
    """The source of a new database's data. The command line tool sends `value` for `name`."""

    type: str
    name: str | None = None
    value: str | None = None
    timestamp: str | None = None
    url: str | None = None


class RemoteEncryption(Struct, frozen=True, kw_only=True):
    """A key of the user's own; the twin refuses it."""

    encryption_key: str | None = None
    encryption_cipher: str | None = None


class CreateDatabaseInput(Struct, frozen=True, kw_only=True):
    """Body of `create`."""

    name: str
    group: str
    seed: Seed | None = None
    size_limit: str | None = None
    remote_encryption: RemoteEncryption | None = None


class DatabaseConfigurationInput(Struct, frozen=True, kw_only=True):
    """Body of a change: omitted fields keep their value. `null` clears a list, as `[]` does."""

    size_limit: str | UnsetType = UNSET
    allow_attach: bool | UnsetType = UNSET
    block_reads: bool | UnsetType = UNSET
    block_writes: bool | UnsetType = UNSET
    delete_protection: bool | UnsetType = UNSET
    allowed_ips: list[str] | UnsetType | None = UNSET
    allowed_aws_vpc_ids: list[str] | UnsetType | None = UNSET


class DatabaseConfiguration(Struct, frozen=True, kw_only=True):
    """The whole configuration."""

    size_limit: str
    allow_attach: bool
    block_reads: bool
    block_writes: bool
    delete_protection: bool
    allowed_ips: list[str]
    allowed_aws_vpc_ids: list[str]


class Instance(Struct, frozen=True, kw_only=True):
    """A place that a database is served from; here there is one."""

    uuid: str
    name: str
    type: Literal["primary", "replica"]
    region: str
    hostname: str


class Usage(Struct, frozen=True, kw_only=True):
    """Figures for billing."""

    rows_read: int = 0
    rows_written: int = 0
    storage_bytes: int = 0
    bytes_synced: int = 0


class InstanceUsage(Struct, frozen=True, kw_only=True):
    """One instance's part."""

    uuid: str
    usage: Usage


class DatabaseUsage(Struct, frozen=True, kw_only=True):
    """`total` is in the OpenAPI description, `usage` is what both official clients read."""

    uuid: str
    instances: list[InstanceUsage]
    total: Usage
    usage: Usage


class OrganizationTotals(Struct, frozen=True, kw_only=True):
    """All databases of an organization."""

    rows_read: int
    rows_written: int
    databases: int
    locations: int
    storage_bytes: int
    groups: int
    bytes_synced: int


class OrganizationUsage(Struct, frozen=True, kw_only=True):
    """Totals, and each database's part."""

    uuid: str
    usage: OrganizationTotals
    databases: list[DatabaseUsage]


class TopQuery(Struct, frozen=True, kw_only=True):
    """One of the most expensive statements."""

    query: str
    rows_read: int
    rows_written: int


class ReadAttach(Struct, frozen=True, kw_only=True):
    """Databases that a token may attach."""

    databases: list[str] = []


class Permissions(Struct, frozen=True, kw_only=True):
    """If given, even empty, they replace the requested authorization."""

    read_attach: ReadAttach | None = None


class CreateTokenInput(Struct, frozen=True, kw_only=True):
    """Body of a request for a token; best omitted altogether."""

    permissions: Permissions | None = None


class Group(Struct, frozen=True, kw_only=True):
    """Databases in one place."""

    name: str
    uuid: str
    version: str
    locations: list[str]
    primary: str
    archived: bool
    delete_protection: bool


class NewGroup(Struct, frozen=True, kw_only=True):
    """Body of a group's `create`."""

    name: str
    location: str
    extensions: str | list[str] | None = None


class GroupConfigurationInput(Struct, frozen=True, kw_only=True):
    """Body of a change."""

    delete_protection: bool | UnsetType = UNSET


class GroupConfiguration(Struct, frozen=True, kw_only=True):
    """A group's configuration."""

    delete_protection: bool


class Organization(Struct, frozen=True, kw_only=True):
    """The owner of the databases."""

    name: str
    slug: str
    type: Literal["personal", "team"]
    overages: bool
    require_mfa: bool
    blocked_reads: bool
    blocked_writes: bool
    plan_id: str
    plan_timeline: str
    platform: str


class OrganizationInput(Struct, frozen=True, kw_only=True):
    """Body of a change."""

    overages: bool | UnsetType = UNSET
    require_mfa: bool | UnsetType = UNSET


class ApiToken(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A platform token without its text."""

    name: str
    id: str
    created_at: str
    organization: str | None = None
    group: str | None = None
    scopes: list[str] | None = None


class NewApiToken(Struct, frozen=True, kw_only=True):
    """A platform token with its text, shown only once."""

    name: str
    id: str
    token: str


# Nearly all answers are wrapped in an object with one key.


class DatabaseAnswer(Struct, frozen=True):
    database: Database


class NewDatabaseAnswer(Struct, frozen=True):
    database: NewDatabase


class DatabasesAnswer(Struct, frozen=True):
    databases: list[Database]


class DeletedDatabaseAnswer(Struct, frozen=True):
    database: str


class InstancesAnswer(Struct, frozen=True):
    instances: list[Instance]


class InstanceAnswer(Struct, frozen=True):
    instance: Instance


class UsageAnswer(Struct, frozen=True):
    database: DatabaseUsage


class StatsAnswer(Struct, frozen=True):
    top_queries: list[TopQuery] | None


class TokenAnswer(Struct, frozen=True):
    jwt: str


class GroupAnswer(Struct, frozen=True):
    group: Group


class GroupsAnswer(Struct, frozen=True):
    groups: list[Group]


class OrganizationAnswer(Struct, frozen=True):
    organization: Organization


class OrganizationUsageAnswer(Struct, frozen=True):
    organization: OrganizationUsage


class LocationsAnswer(Struct, frozen=True):
    locations: dict[str, str]


class ValidationAnswer(Struct, frozen=True):
    """`exp` is in seconds since 1970, or -1 for a token that does not expire."""

    exp: int


class ApiTokensAnswer(Struct, frozen=True):
    tokens: list[ApiToken]


class RevokedApiTokenAnswer(Struct, frozen=True):
    token: str
