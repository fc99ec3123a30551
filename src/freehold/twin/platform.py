"""What the Platform API does: one method per call, on the catalogue and the engine."""

import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec
from msgspec import UNSET

from freehold.errors import NotFound
from freehold.twin.catalogue import LOCATIONS, Catalogue, DatabaseRecord, GroupRecord, rfc3339
from freehold.twin.engine import Engine
from freehold.twin.faults import Fault, Kind
from freehold.twin.hosts import Hosts
from freehold.twin.refusals import Refusal, database_exists, database_missing, group_missing
from freehold.twin.tokens import LEVELS, DatabaseTokens, parse_duration
from freehold.twin.types import CreateDatabaseInput, DatabaseConfigurationInput, NewGroup, Parent, Permissions, Seed

Drawn = Mapping[Kind, Fault]

_NAME = re.compile(r"[a-z0-9-]{1,64}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_SIZE = re.compile(r"(\d{1,15})\s*(b|kb|mb|gb|tb)?", re.IGNORECASE)
_FACTORS = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
_DEFAULT_SIZE = 9 << 30
_LABEL = 63  # bytes in one part of a host's name


@dataclass(frozen=True, slots=True)
class Platform:
    """One organization."""

    organization: str
    catalogue: Catalogue
    engine: Engine
    tokens: DatabaseTokens
    hosts: Hosts

    def database(self, name: str) -> DatabaseRecord:
        """The database. Raises `Refusal`."""
        record = self.catalogue.databases.get(name)
        if record is None or record.ready_at_s > time.time():
            raise database_missing(name)
        return record

    def group(self, name: str, status: int = 404) -> GroupRecord:
        """The group. Raises `Refusal`."""
        record = self.catalogue.groups.get(name)
        if record is None:
            raise group_missing(status)
        return record

    async def create_database(self, wanted: CreateDatabaseInput, drawn: Drawn) -> DatabaseRecord:
        """Create a database, empty or from a seed."""
        self._check_name(wanted.name)
        group = self.group(wanted.group, status=400)
        source = self._source(wanted.seed)
        if wanted.remote_encryption is not None:
            raise Refusal(400, "remote_encryption: not supported by this local twin")
        record = DatabaseRecord(
            name=wanted.name,
            db_id=str(uuid.uuid4()),
            group=group.name,
            size_bytes=_size(wanted.size_limit) if wanted.size_limit else _DEFAULT_SIZE,
            ready_at_s=time.time() + drawn["slow_ready"].seconds if "slow_ready" in drawn else 0.0,
            parent=_branched(source),
        )
        databases = self.catalogue.databases
        if wanted.name in databases:
            raise _exists(wanted.name, drawn)
        databases[record.name] = record  # from here on nobody else can take the name
        try:
            if source is None:
                await self.engine.create(record.db_id, record.size_bytes)
            else:
                await self.engine.fork(source.db_id, record.db_id, record.size_bytes)
            return await databases.put(record)
        except BaseException as error:
            databases.pop(record.name, None)
            if isinstance(error, NotFound) and source is not None:
                raise database_missing(source.name) from error
            raise

    async def delete_database(self, name: str) -> None:
        """Delete the database with its data."""
        record = self.database(name)
        if record.delete_protection or self.group(record.group).delete_protection:
            raise Refusal(403, "database has delete protection enabled")
        await self._remove(record)

    async def configure(self, name: str, changes: DatabaseConfigurationInput) -> DatabaseRecord:
        """Change the given fields, keep the rest."""
        record = self.database(name)
        found = {field: value for field, value in msgspec.structs.asdict(changes).items() if value is not UNSET}
        if "size_limit" in found:
            found["size_bytes"] = _size(found.pop("size_limit"))
        for addresses in ("allowed_ips", "allowed_aws_vpc_ids"):
            if addresses in found:
                found[addresses] = found[addresses] or []
        record = msgspec.structs.replace(record, **found)
        await self.engine.configure(
            record.db_id, record.size_bytes, block_reads=record.block_reads, block_writes=record.block_writes
        )
        return await self.catalogue.databases.put(record)

    def mint(
        self,
        owner: DatabaseRecord | GroupRecord,
        expiration: str,
        authorization: str,
        permissions: Permissions | None,
        drawn: Drawn,
    ) -> str:
        """A token for a database, or for all databases of a group."""
        try:
            lifetime_s = parse_duration(expiration)
        except ValueError as error:
            raise Refusal(400, "Invalid expiration format") from error
        if authorization not in LEVELS:
            raise Refusal(400, "Invalid authorization")
        if permissions is not None and "attach_refused" in drawn:
            raise Refusal(400, "attach is not supported at AWS")
        if "expired_token" in drawn:
            lifetime_s = -3600
        if "no_access_claim" in drawn:
            authorization = ""
        return self.tokens.mint(owner, authorization, lifetime_s, permissions)

    async def rotate(self, owner: DatabaseRecord | GroupRecord) -> None:
        """Revoke every token of a database, or of all databases of a group."""
        if isinstance(owner, DatabaseRecord):
            await self.catalogue.databases.put(msgspec.structs.replace(owner, rotations=owner.rotations + 1))
        else:
            await self.catalogue.groups.put(msgspec.structs.replace(owner, rotations=owner.rotations + 1))

    async def create_group(self, wanted: NewGroup) -> GroupRecord:
        """Create a group."""
        self._check_name(wanted.name)
        if wanted.location not in LOCATIONS:
            raise Refusal(400, f"invalid location: {wanted.location}")
        if wanted.name in self.catalogue.groups:
            raise Refusal(409, "group already exists")
        group = GroupRecord(name=wanted.name, uuid=str(uuid.uuid4()), location=wanted.location)
        return await self.catalogue.groups.put(group)

    async def delete_group(self, name: str) -> GroupRecord:
        """Delete the group and all of its databases."""
        group = self.group(name)
        if group.delete_protection:
            raise Refusal(403, "group has delete protection enabled")
        for record in self.catalogue.of_group(name):
            await self._remove(record)
        await self.catalogue.groups.take(name)
        return group

    async def _remove(self, record: DatabaseRecord) -> None:
        await self.engine.delete(record.db_id)
        # Someone may have created another one of this name meanwhile.
        if (now := self.catalogue.databases.get(record.name)) and now.db_id == record.db_id:
            await self.catalogue.databases.take(record.name)

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise Refusal(400, "name can only contain lowercase letters, numbers and dashes, up to 64 of them")
        if len(name) + 1 + len(self.organization) > _LABEL:
            raise Refusal(400, f"name is too long: with the organization's it may have {_LABEL} characters")

    def _source(self, seed: Seed | None) -> DatabaseRecord | None:
        if seed is None:
            return None
        if seed.type != "database":
            raise Refusal(400, f"seed type `{seed.type}` is not supported by this local twin; use `database`")
        name = seed.name or seed.value
        if not name:
            raise Refusal(400, "seed name is required")
        if seed.timestamp is not None:
            if not _is_moment(seed.timestamp):
                raise Refusal(400, f"invalid timestamp: {seed.timestamp}")
            # Never the newest data in place of the requested ones.
            raise Refusal(400, "point-in-time restore is not supported by this local twin; leave `timestamp` out")
        return self.database(name)


def _branched(source: DatabaseRecord | None) -> Parent | None:
    return None if source is None else Parent(id=source.db_id, name=source.name, branched_at=rfc3339())


def _is_moment(text: str) -> bool:
    """Whether this is a timestamp of RFC 3339, such as `2024-01-01T00:00:00Z`."""
    if not _MOMENT.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _exists(name: str, drawn: Drawn) -> Refusal:
    if "exists_as_400" in drawn:
        return Refusal(400, "database with same name already exists")
    if "exists_as_422" in drawn:
        return Refusal(422, "name not available")
    return database_exists(name)


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise Refusal(400, f"invalid size limit: {text}")
    return int(found[1]) * _FACTORS[(found[2] or "b").lower()]
