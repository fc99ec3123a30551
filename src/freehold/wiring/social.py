"""Sign-in with GitHub, Google or any OpenID Connect issuer."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

from freehold.auth.service import Auth
from freehold.auth.social.service import IdentityProvider, Secrets, Social
from freehold.central.auth.social import CentralSocial
from freehold.identity.code_flow import Registration
from freehold.identity.github import github_provider
from freehold.identity.oidc import Issuer, OidcProvider, google_provider
from freehold.identity.outbound import Outbound, open_outbound
from freehold.settings.fields import Settings
from freehold.wiring.foundation import Foundation


async def open_social(base: Foundation, auth: Auth) -> Social:
    """Sign-in through the providers in the settings."""
    return Social(
        auth=auth,
        providers=await base.stack.enter_async_context(_providers(base.settings)),
        store=CentralSocial(base.central),
        secrets=Secrets(base.secret.encode()),
        base_url=f"{base.settings.public_url}/api/auth",
    )


@asynccontextmanager
async def _providers(settings: Settings) -> AsyncIterator[Mapping[str, IdentityProvider]]:
    """The providers that the settings turn on, by the id that clients use."""
    written_down = [settings.oidc_issuer, settings.github_url, settings.github_api_url]
    async with open_outbound([url for url in written_down if url]) as outbound:
        yield {provider.provider_id: provider for provider in _chosen(settings, outbound)}


def _chosen(settings: Settings, outbound: Outbound) -> Iterator[IdentityProvider]:
    if settings.github_client_id:
        secret = settings.github_client_secret.reveal()
        yield github_provider(outbound, settings.github_client_id, secret, settings.github_url, settings.github_api_url)
    if settings.google_client_id:
        yield google_provider(outbound, settings.google_client_id, settings.google_client_secret.reveal())
    if settings.oidc_issuer:
        us = Registration(
            provider_id=settings.oidc_id,
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret.reveal(),
            scopes=settings.oidc_scopes,
        )
        yield OidcProvider(outbound, Issuer(outbound, settings.oidc_issuer), us)
