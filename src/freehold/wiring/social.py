"""Sign-in with GitHub, Google or any OpenID Connect issuer."""

from freehold.auth.service import Auth
from freehold.auth.social.attempts import Secrets
from freehold.auth.social.service import Social
from freehold.central.auth.social import CentralAttempts, CentralSocialAccounts
from freehold.identity.open import open_providers
from freehold.wiring.foundation import Foundation


async def open_social(base: Foundation, auth: Auth) -> Social:
    """What signs people in who are known at the providers of the settings."""
    return Social(
        auth=auth,
        providers=await base.stack.enter_async_context(open_providers(base.settings)),
        attempts=CentralAttempts(base.central),
        accounts=CentralSocialAccounts(base.central),
        secrets=Secrets(base.secret.encode()),
        base_url=f"{base.settings.public_url}/api/auth",
    )
