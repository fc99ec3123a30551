"""`/v1/organizations/{organization}/databases`."""

from datetime import datetime
from typing import Annotated

from litestar import Controller, MediaType, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from freehold.twin.platform import Drawn, Platform
from freehold.twin.refusals import Refusal
from freehold.twin.types import (
    CreateDatabaseInput,
    CreateTokenInput,
    DatabaseAnswer,
    DatabaseConfiguration,
    DatabaseConfigurationInput,
    DatabasesAnswer,
    DeletedDatabaseAnswer,
    InstanceAnswer,
    InstancesAnswer,
    NewDatabase,
    NewDatabaseAnswer,
    StatsAnswer,
    TokenAnswer,
    TopQuery,
    UsageAnswer,
)
from freehold.twin.views import configuration_view, database_view, instance_view, usage_view

Expiration = Annotated[str, QueryParameter(description="How long it is good: `2w1d30m`, or `never`.")]
Authorization = Annotated[str, QueryParameter(description="`full-access` or `read-only`.")]
GroupFilter = Annotated[str, QueryParameter(name="group", description="Only those of this group.")]
SchemaFilter = Annotated[str, QueryParameter(name="schema", description="Deprecated; finds nothing here.")]
ParentFilter = Annotated[str, QueryParameter(name="parent", description="Only branches of this database id.")]
Since = Annotated[str, QueryParameter(name="from", description="RFC 3339; the figures are of all time here.")]
Until = Annotated[str, QueryParameter(name="to", description="RFC 3339; the figures are of all time here.")]
Name = FromPath[str]
_PATH = "/v1/organizations/{organization_slug:str}/databases"


class DatabasesController(Controller):
    """Databases of the organization."""

    path = _PATH

    @get(operation_id="listDatabases")
    async def list_databases(
        self,
        platform: NamedDependency[Platform],
        in_group: GroupFilter = "",
        of_schema: SchemaFilter = "",
        of_parent: ParentFilter = "",
    ) -> DatabasesAnswer:
        """All databases, by name."""
        found = sorted(platform.catalogue.databases.values(), key=lambda each: each.name)
        return DatabasesAnswer(
            [
                database_view(platform, each)
                for each in found
                if not of_schema
                and in_group in {"", each.group}
                and (not of_parent or (each.parent is not None and each.parent.id == of_parent))
            ]
        )

    @post(operation_id="createDatabase", status_code=200)
    async def create_database(
        self, platform: NamedDependency[Platform], drawn: NamedDependency[Drawn], data: JSONBody[CreateDatabaseInput]
    ) -> NewDatabaseAnswer:
        """Create a database, empty or as a copy of another one."""
        record = await platform.create_database(data, drawn)
        hostname = platform.hosts.hostname(record.name)
        return NewDatabaseAnswer(NewDatabase(name=record.name, db_id=record.db_id, hostname=hostname))

    @get("/{database_name:str}", operation_id="getDatabase")
    async def get_database(self, platform: NamedDependency[Platform], database_name: Name) -> DatabaseAnswer:
        """One database."""
        return DatabaseAnswer(database_view(platform, platform.database(database_name)))

    @delete("/{database_name:str}", operation_id="deleteDatabase", status_code=200)
    async def delete_database(self, platform: NamedDependency[Platform], database_name: Name) -> DeletedDatabaseAnswer:
        """Delete a database."""
        await platform.delete_database(database_name)
        return DeletedDatabaseAnswer(database_name)

    @get("/{database_name:str}/configuration", operation_id="getDatabaseConfiguration")
    async def get_configuration(
        self, platform: NamedDependency[Platform], database_name: Name
    ) -> DatabaseConfiguration:
        """A database's configuration."""
        return configuration_view(platform.database(database_name))

    @patch("/{database_name:str}/configuration", operation_id="updateDatabaseConfiguration")
    async def update_configuration(
        self, platform: NamedDependency[Platform], database_name: Name, data: JSONBody[DatabaseConfigurationInput]
    ) -> DatabaseConfiguration:
        """Change the fields that are sent."""
        return configuration_view(await platform.configure(database_name, data))

    @get("/{database_name:str}/instances", operation_id="listDatabaseInstances")
    async def list_instances(self, platform: NamedDependency[Platform], database_name: Name) -> InstancesAnswer:
        """Where a database is served from."""
        return InstancesAnswer([instance_view(platform, platform.database(database_name))])

    @get("/{database_name:str}/instances/{instance_name:str}", operation_id="getDatabaseInstance")
    async def get_instance(
        self, platform: NamedDependency[Platform], database_name: Name, instance_name: FromPath[str]
    ) -> InstanceAnswer:
        """One of the places that a database is served from."""
        instance = instance_view(platform, platform.database(database_name))
        if instance.name != instance_name:
            raise Refusal(404, f"could not find instance [{instance_name}]: record not found")
        return InstanceAnswer(instance)

    @post("/{database_name:str}/auth/tokens", operation_id="createDatabaseToken", status_code=200)
    async def create_token(
        self,
        *,
        platform: NamedDependency[Platform],
        drawn: NamedDependency[Drawn],
        database_name: Name,
        expiration: Expiration = "never",
        authorization: Authorization = "full-access",
        data: JSONBody[CreateTokenInput | None] = None,
    ) -> TokenAnswer:
        """Mint a token for this database."""
        permissions = data.permissions if data is not None else None
        record = platform.database(database_name)
        return TokenAnswer(platform.mint(record, expiration, authorization, permissions, drawn))

    @post("/{database_name:str}/auth/rotate", operation_id="invalidateDatabaseTokens", status_code=200)
    async def rotate(self, platform: NamedDependency[Platform], database_name: Name) -> Response[str]:
        """Revoke all tokens of this database. The answer is empty."""
        await platform.rotate(platform.database(database_name))
        return empty()

    @get("/{database_name:str}/usage", operation_id="getDatabaseUsage")
    async def usage(
        self, platform: NamedDependency[Platform], database_name: Name, since: Since = "", until: Until = ""
    ) -> UsageAnswer:
        """A database's usage."""
        record = platform.database(database_name)
        _check_time("from", since)
        _check_time("to", until)
        return UsageAnswer(usage_view(platform, record, await platform.engine.stats(record.db_id)))

    @get("/{database_name:str}/stats", operation_id="getDatabaseStats")
    async def stats(self, platform: NamedDependency[Platform], database_name: Name) -> StatsAnswer:
        """A database's most expensive statements."""
        found = await platform.engine.stats(platform.database(database_name).db_id)
        queries = [
            TopQuery(query=each.query, rows_read=each.rows_read, rows_written=each.rows_written)
            for each in found.top_queries
        ]
        return StatsAnswer(queries or None)


def empty() -> Response[str]:
    """200 without content."""
    return Response("", status_code=200, media_type=MediaType.TEXT)


def _check_time(name: str, text: str) -> None:
    try:
        is_time = not text or datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        is_time = False
    if not is_time:
        raise Refusal(400, f'invalid {name} parameter: parsing time "{text}": cannot parse')
