"""GitHub and GitHub Enterprise Server: OAuth 2.0 without OpenID Connect; their API identifies the user.

Source: https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps and
https://docs.github.com/en/rest/users
"""

from dataclasses import dataclass
from typing import Any

from freehold.auth.social.errors import SocialRefusal
from freehold.auth.social.types import Identity, Question
from freehold.identity.code_flow import Registration, Tokens, authorize_url, exchange
from freehold.identity.outbound import Outbound
from freehold.identity.profile import identity

_SCOPES = ("read:user", "user:email")


@dataclass(frozen=True, slots=True)
class GitHubProvider:
    """Implements `auth.social.service.IdentityProvider`. Browsers use `url`, this service `api_url`."""

    outbound: Outbound
    us: Registration
    url: str
    api_url: str

    @property
    def provider_id(self) -> str:
        return self.us.provider_id

    async def authorize_url(self, question: Question) -> str:
        return authorize_url(f"{self.url}/login/oauth/authorize", self.us, question)

    async def identify(self, code: str, issuer: str, question: Question) -> Identity:  # noqa: ARG002
        tokens = await exchange(
            self.outbound,
            f"{self.url}/login/oauth/access_token",
            self.us,
            code,
            question,
            auth_method="client_secret_post",
        )
        user = await self._get("/user", tokens)
        if not isinstance(user, dict) or type(user.get("id")) is not int:  # `isinstance` would accept a bool
            raise SocialRefusal("unable_to_get_user_info", "GitHub does not identify the user")
        email, is_verified = _address(user, await self._get("/user/emails", tokens))
        return identity(
            self.provider_id,
            str(user["id"]),
            email=email,
            email_verified=is_verified,
            names=(user.get("name"), user.get("login")),
            image=user.get("avatar_url"),
            scopes=_SCOPES,
        )

    async def _get(self, path: str, tokens: Tokens) -> Any:
        headers = {
            "authorization": f"Bearer {tokens.access_token}",
            "accept": "application/vnd.github+json",
            "user-agent": "freehold",  # GitHub refuses requests without one
            "x-github-api-version": "2022-11-28",
        }
        reply = await self.outbound.get(self.api_url + path, headers)
        return reply.content if reply.status == 200 else None


def github_provider(outbound: Outbound, client_id: str, client_secret: str, url: str, api_url: str) -> GitHubProvider:
    """GitHub with this registration."""
    us = Registration(provider_id="github", client_id=client_id, client_secret=client_secret, scopes=_SCOPES)
    return GitHubProvider(outbound, us, url.rstrip("/"), api_url.rstrip("/"))


def _address(user: dict[str, Any], emails: Any) -> tuple[Any, bool]:
    """The primary address and whether it is verified; the public profile does not say that about its address."""
    for entry in emails if isinstance(emails, list) else []:
        if isinstance(entry, dict) and entry.get("primary") is True:
            return entry.get("email"), entry.get("verified") is True
    return user.get("email"), False
