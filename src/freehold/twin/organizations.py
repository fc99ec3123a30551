"""Organizations, locations and platform tokens."""

import hashlib
import secrets
import uuid
from datetime import UTC, datetime

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct

from freehold.twin.catalogue import LOCATIONS, ApiTokenRecord
from freehold.twin.platform import Platform
from freehold.twin.refusals import Refusal
from freehold.twin.types import (
    ApiToken,
    ApiTokensAnswer,
    LocationsAnswer,
    NewApiToken,
    Organization,
    OrganizationAnswer,
    OrganizationInput,
    OrganizationTotals,
    OrganizationUsage,
    OrganizationUsageAnswer,
    RevokedApiTokenAnswer,
    ValidationAnswer,
)
from freehold.twin.views import organization_view, usage_view


class NewApiTokenInput(Struct, frozen=True, kw_only=True):
    """Body of a platform token's `create`. One limited to a group is refused: the twin would not enforce the limit."""

    organization: str | None = None
    group: str | None = None
    scopes: list[str] | None = None


class OrganizationsController(Controller):
    """The one organization."""

    path = "/v1/organizations"

    @get(operation_id="listOrganizations")
    async def list_organizations(self, platform: NamedDependency[Platform]) -> list[Organization]:
        """All organizations, as a bare array unlike all other lists."""
        return [organization_view(platform.organization)]

    @get("/{organization_slug:str}", operation_id="getOrganization")
    async def get_organization(self, platform: NamedDependency[Platform]) -> OrganizationAnswer:
        """One organization."""
        return OrganizationAnswer(organization_view(platform.organization))

    @patch("/{organization_slug:str}", operation_id="updateOrganization")
    async def update_organization(
        self, platform: NamedDependency[Platform], data: JSONBody[OrganizationInput]
    ) -> OrganizationAnswer:
        """Accept a change without keeping it; nothing here depends on it."""
        return OrganizationAnswer(
            organization_view(
                platform.organization,
                overages=data.overages is not UNSET and data.overages,
                require_mfa=data.require_mfa is not UNSET and data.require_mfa,
            )
        )

    @get("/{organization_slug:str}/usage", operation_id="getOrganizationUsage")
    async def usage(self, platform: NamedDependency[Platform]) -> OrganizationUsageAnswer:
        """The usage of all databases."""
        records = sorted(platform.catalogue.databases.values(), key=lambda each: each.name)
        used = [usage_view(platform, each, await platform.engine.stats(each.db_id)) for each in records]
        totals = OrganizationTotals(
            rows_read=sum(each.total.rows_read for each in used),
            rows_written=sum(each.total.rows_written for each in used),
            databases=len(used),
            locations=1,
            storage_bytes=sum(each.total.storage_bytes for each in used),
            groups=len(platform.catalogue.groups),
            bytes_synced=0,
        )
        identity = str(uuid.uuid5(uuid.NAMESPACE_DNS, platform.organization))
        return OrganizationUsageAnswer(OrganizationUsage(uuid=identity, usage=totals, databases=used))


class PlatformController(Controller):
    """What belongs to no organization."""

    path = "/v1"

    @get("/locations", operation_id="listLocations")
    async def list_locations(self) -> LocationsAnswer:
        """The locations that databases can have."""
        return LocationsAnswer(dict(LOCATIONS))

    @get("/auth/validate", operation_id="validateAPIToken")
    async def validate(self) -> ValidationAnswer:
        """Confirm that the token of the request is valid without expiry."""
        return ValidationAnswer(-1)

    @get("/auth/api-tokens/validate", operation_id="validateAPITokenForClients")
    async def validate_for_clients(self) -> ValidationAnswer:
        """Like `/auth/validate`, at the path of the official JavaScript client."""
        return ValidationAnswer(-1)

    @get("/auth/api-tokens", operation_id="listAPITokens")
    async def list_api_tokens(self, platform: NamedDependency[Platform]) -> ApiTokensAnswer:
        """Platform tokens, without their text."""
        return ApiTokensAnswer(
            [
                ApiToken(name=each.name, id=each.id, created_at=each.created_at, organization=each.organization)
                for each in platform.catalogue.api_tokens.values()
            ]
        )

    @post("/auth/api-tokens/{token_name:str}", operation_id="createAPIToken", status_code=200)
    async def create_api_token(
        self,
        platform: NamedDependency[Platform],
        token_name: FromPath[str],
        data: JSONBody[NewApiTokenInput | None] = None,
    ) -> NewApiToken:
        """Create a platform token; only this answer contains its text."""
        if token_name in platform.catalogue.api_tokens:
            raise Refusal(409, f"api token with name [{token_name}] already exists")
        if data is not None and (data.group or data.scopes):
            raise Refusal(400, "tokens pinned to a group are not supported by this local twin")
        text = secrets.token_urlsafe(32)
        record = ApiTokenRecord(
            name=token_name,
            id=str(uuid.uuid4()),
            created_at=datetime.now(UTC).date().isoformat(),
            digest=hashlib.sha256(text.encode()).hexdigest(),
            organization=data.organization if data is not None else None,
        )
        await platform.catalogue.api_tokens.put(record)
        return NewApiToken(name=record.name, id=record.id, token=text)

    @delete("/auth/api-tokens/{token_name:str}", operation_id="revokeAPIToken", status_code=200)
    async def revoke_api_token(
        self, platform: NamedDependency[Platform], token_name: FromPath[str]
    ) -> RevokedApiTokenAnswer:
        """Revoke a platform token."""
        if token_name not in platform.catalogue.api_tokens:
            raise Refusal(404, f"could not find api token with name [{token_name}]")
        await platform.catalogue.api_tokens.take(token_name)
        return RevokedApiTokenAnswer(token_name)
