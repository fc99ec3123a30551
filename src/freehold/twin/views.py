"""Records in the form of the Platform API's answers."""

import uuid

from freehold.providers.sqld.client.admin import NamespaceStats
from freehold.twin.catalogue import DatabaseRecord, GroupRecord
from freehold.twin.platform import Platform
from freehold.twin.types import (
    Database,
    DatabaseConfiguration,
    DatabaseUsage,
    Group,
    Instance,
    InstanceUsage,
    Organization,
    Usage,
)

_VERSION = "tech-preview"
_NAMESPACE = uuid.UUID("6f6bb1b8-63c5-4a3c-9a52-3c1d0b0c7a11")


def database_view(platform: Platform, record: DatabaseRecord) -> Database:
    """The database as in `show`."""
    location = platform.group(record.group).location
    return Database(
        name=record.name,
        db_id=record.db_id,
        hostname=platform.hosts.hostname(record.name),
        block_reads=record.block_reads,
        block_writes=record.block_writes,
        allow_attach=record.allow_attach,
        regions=[location],
        primary_region=location,
        type="logical",
        version=_VERSION,
        group=record.group,
        is_schema=False,
        schema="",
        archived=False,
        sleeping=False,
        delete_protection=record.delete_protection,
        parent=record.parent,
    )


def configuration_view(record: DatabaseRecord) -> DatabaseConfiguration:
    """The whole configuration."""
    return DatabaseConfiguration(
        size_limit=str(record.size_bytes),
        allow_attach=record.allow_attach,
        block_reads=record.block_reads,
        block_writes=record.block_writes,
        delete_protection=record.delete_protection,
        allowed_ips=record.allowed_ips,
        allowed_aws_vpc_ids=record.allowed_aws_vpc_ids,
    )


def instance_view(platform: Platform, record: DatabaseRecord) -> Instance:
    """The one place from which it is served, named after its location."""
    location = platform.group(record.group).location
    return Instance(
        uuid=str(uuid.uuid5(_NAMESPACE, record.db_id)),
        name=location,
        type="primary",
        region=location,
        hostname=platform.hosts.hostname(record.name),
    )


def usage_view(platform: Platform, record: DatabaseRecord, stats: NamespaceStats) -> DatabaseUsage:
    """The whole usage so far, whichever period was requested."""
    usage = Usage(
        rows_read=stats.rows_read_count, rows_written=stats.rows_written_count, storage_bytes=stats.storage_bytes_used
    )
    instance = instance_view(platform, record)
    return DatabaseUsage(
        uuid=record.db_id, instances=[InstanceUsage(uuid=instance.uuid, usage=usage)], total=usage, usage=usage
    )


def group_view(record: GroupRecord) -> Group:
    """The group as in `show`."""
    return Group(
        name=record.name,
        uuid=record.uuid,
        version=_VERSION,
        locations=[record.location],
        primary=record.location,
        archived=False,
        delete_protection=record.delete_protection,
    )


def organization_view(slug: str, *, overages: bool = False, require_mfa: bool = False) -> Organization:
    """The one organization there is."""
    return Organization(
        name=slug,
        slug=slug,
        type="team",
        overages=overages,
        require_mfa=require_mfa,
        blocked_reads=False,
        blocked_writes=False,
        plan_id="developer",
        plan_timeline="monthly",
        platform="",
    )
