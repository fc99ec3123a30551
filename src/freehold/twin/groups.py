"""`/v1/organizations/{organization}/groups`."""

import msgspec
from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from freehold.twin.catalogue import LOCATIONS
from freehold.twin.databases import Authorization, Expiration, empty
from freehold.twin.platform import Drawn, Platform
from freehold.twin.refusals import Refusal
from freehold.twin.types import (
    CreateTokenInput,
    GroupAnswer,
    GroupConfiguration,
    GroupConfigurationInput,
    GroupsAnswer,
    NewGroup,
    TokenAnswer,
)
from freehold.twin.views import group_view

_PATH = "/v1/organizations/{organization_slug:str}/groups"


class GroupsController(Controller):
    """Groups of the organization."""

    path = _PATH

    @get(operation_id="listGroups")
    async def list_groups(self, platform: NamedDependency[Platform]) -> GroupsAnswer:
        """All groups."""
        return GroupsAnswer([group_view(each) for each in platform.catalogue.groups.values()])

    @post(operation_id="createGroup", status_code=200)
    async def create_group(self, platform: NamedDependency[Platform], data: JSONBody[NewGroup]) -> GroupAnswer:
        """Create a group."""
        return GroupAnswer(group_view(await platform.create_group(data)))

    @get("/{group_name:str}", operation_id="getGroup")
    async def get_group(self, platform: NamedDependency[Platform], group_name: FromPath[str]) -> GroupAnswer:
        """One group."""
        return GroupAnswer(group_view(platform.group(group_name)))

    @delete("/{group_name:str}", operation_id="deleteGroup", status_code=200)
    async def delete_group(self, platform: NamedDependency[Platform], group_name: FromPath[str]) -> GroupAnswer:
        """Delete a group with its databases."""
        return GroupAnswer(group_view(await platform.delete_group(group_name)))

    @get("/{group_name:str}/configuration", operation_id="getGroupConfiguration")
    async def get_configuration(
        self, platform: NamedDependency[Platform], group_name: FromPath[str]
    ) -> GroupConfiguration:
        """A group's configuration."""
        return GroupConfiguration(delete_protection=platform.group(group_name).delete_protection)

    @patch("/{group_name:str}/configuration", operation_id="updateGroupConfiguration")
    async def update_configuration(
        self, platform: NamedDependency[Platform], group_name: FromPath[str], data: JSONBody[GroupConfigurationInput]
    ) -> GroupConfiguration:
        """Change the fields that are sent."""
        group = platform.group(group_name)
        if data.delete_protection is not UNSET:
            group = msgspec.structs.replace(group, delete_protection=data.delete_protection)
            await platform.catalogue.groups.put(group)
        return GroupConfiguration(delete_protection=group.delete_protection)

    @post("/{group_name:str}/auth/tokens", operation_id="createGroupToken", status_code=200)
    async def create_token(
        self,
        *,
        platform: NamedDependency[Platform],
        drawn: NamedDependency[Drawn],
        group_name: FromPath[str],
        expiration: Expiration = "never",
        authorization: Authorization = "full-access",
        data: JSONBody[CreateTokenInput | None] = None,
    ) -> TokenAnswer:
        """Mint a token for every database of the group."""
        permissions = data.permissions if data is not None else None
        group = platform.group(group_name)
        return TokenAnswer(platform.mint(group, expiration, authorization, permissions, drawn))

    @post("/{group_name:str}/auth/rotate", operation_id="invalidateGroupTokens", status_code=200)
    async def rotate(self, platform: NamedDependency[Platform], group_name: FromPath[str]) -> Response[str]:
        """Revoke all tokens of the group and of its databases. The answer is empty."""
        await platform.rotate(platform.group(group_name))
        return empty()

    @post("/{group_name:str}/unarchive", operation_id="unarchiveGroup", status_code=200)
    async def unarchive(self, platform: NamedDependency[Platform], group_name: FromPath[str]) -> GroupAnswer:
        """Do nothing: no group is archived here."""
        return GroupAnswer(group_view(platform.group(group_name)))

    @post("/{group_name:str}/update", operation_id="updateGroupDatabases", status_code=200)
    async def update(self, platform: NamedDependency[Platform], group_name: FromPath[str]) -> Response[str]:
        """Do nothing: there is no other version."""
        platform.group(group_name)
        return empty()

    @post("/{group_name:str}/locations/{location:str}", operation_id="addLocationToGroup", status_code=200)
    async def add_location(
        self, platform: NamedDependency[Platform], group_name: FromPath[str], location: FromPath[str]
    ) -> GroupAnswer:
        """Do nothing: databases are served from one place here, whichever is added."""
        return _relocated(platform, group_name, location)

    @delete("/{group_name:str}/locations/{location:str}", operation_id="removeLocationFromGroup", status_code=200)
    async def remove_location(
        self, platform: NamedDependency[Platform], group_name: FromPath[str], location: FromPath[str]
    ) -> GroupAnswer:
        """Do nothing: databases are served from one place here, whichever is removed."""
        return _relocated(platform, group_name, location)


def _relocated(platform: Platform, group_name: str, location: str) -> GroupAnswer:
    group = platform.group(group_name)
    if location not in LOCATIONS:
        raise Refusal(400, f"invalid location: {location}")
    return GroupAnswer(group_view(group))
