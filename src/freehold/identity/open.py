"""The providers that the settings turn on."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from freehold.auth.social.ports import IdentityProvider
from freehold.identity.code_flow import Registration
from freehold.identity.github import github_provider
from freehold.identity.metadata import Issuer
from freehold.identity.oidc import OidcProvider, google_provider
from freehold.identity.outbound import Outbound, open_outbound
from freehold.settings.fields import Settings


@asynccontextmanager
async def open_providers(settings: Settings) -> AsyncIterator[Mapping[str, IdentityProvider]]:
    """By the name that clients call them."""
    written_down = [settings.oidc_issuer, settings.github_url, settings.github_api_url]
    async with open_outbound([url for url in written_down if url]) as outbound:
        yield {provider.provider_id: provider for provider in _providers(settings, outbound)}


def _providers(settings: Settings, outbound: Outbound) -> list[IdentityProvider]:
    found: list[IdentityProvider] = []
    if settings.github_client_id:
        found.append(
            github_provider(
                outbound,
                settings.github_client_id,
                settings.github_client_secret.reveal(),
                settings.github_url,
                settings.github_api_url,
            )
        )
    if settings.google_client_id:
        found.append(
            google_provider(outbound, settings.google_client_id, settings.google_client_secret.reveal())
        )
    if settings.oidc_issuer:
        us = Registration(
            provider_id=settings.oidc_id,
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret.reveal(),
            scopes=settings.oidc_scopes,
        )
        found.append(OidcProvider(outbound, Issuer(outbound, settings.oidc_issuer), us))
    return found
