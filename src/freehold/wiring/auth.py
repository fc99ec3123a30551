"""Users, their sessions, and their other credentials."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from freehold.auth.email.addresses import EmailAddresses
from freehold.auth.email.code_sign_in import CodeSignIn
from freehold.auth.email.password_resets import PasswordResets
from freehold.auth.importing.service import UserImport
from freehold.auth.lockout import Lockout
from freehold.auth.origins import TrustedOrigins
from freehold.auth.passwords.passwords import ScryptHasher, cores
from freehold.auth.service import Auth
from freehold.auth.sessions.cached_sessions import CachedSessionCodec, SessionData
from freehold.auth.sessions.cookies import SessionCookies
from freehold.auth.sessions.sessions import Sessions
from freehold.auth.social.service import Social
from freehold.auth.users.accounts import Accounts
from freehold.auth.users.admin import UserAdmin
from freehold.auth.users.guests import Guests
from freehold.cache.sessions import RedisSessions
from freehold.central.auth.user_admin import CentralUserAdmin
from freehold.central.auth.user_import import CentralUserImport
from freehold.central.auth.users import CentralUsers
from freehold.central.auth.wrong_passwords import CentralWrongPasswords
from freehold.errors import RateLimited
from freehold.limiting import Limiter, hit_from
from freehold.settings.fields import Settings
from freehold.wiring.foundation import Foundation
from freehold.wiring.sign_in import (
    email_addresses,
    open_accounts,
    open_mailer,
    open_password_resets,
    open_password_rules,
)
from freehold.wiring.social import open_social
from freehold.wiring.tokens import TokenServices, open_tokens


@dataclass(frozen=True, kw_only=True)
class AuthServices(TokenServices):
    """Services for users and sign-in."""

    auth: Auth
    user_admin: UserAdmin
    user_import: UserImport
    session_data: SessionData | None
    guests: Guests
    social: Social
    accounts: Accounts
    email_addresses: EmailAddresses
    code_sign_in: CodeSignIn
    password_resets: PasswordResets


async def open_auth(base: Foundation, provider_name: str, on_user_created: Callable[[], None]) -> AuthServices:
    """The sign-in services on the central database. A new user's tenant belongs to `provider_name`."""
    settings, central, secret, stack = base.settings, base.central, base.secret, base.stack
    shared = None if base.cache is None else RedisSessions(base.cache, CachedSessionCodec(secret))
    if shared is not None:
        stack.push_async_callback(shared.close)
    users = CentralUsers(central, provider_name)
    hasher = ScryptHasher(base.worker.share(cores()))
    stack.callback(hasher.close)
    cookies = SessionCookies(secret, settings.public_url)
    max_age = timedelta(days=settings.session_max_days)
    strategy = settings.session_cookie_cache
    session_data = None if strategy == "off" else SessionData(secret, cookies, strategy)
    addresses = email_addresses(central, await asyncio.to_thread(open_mailer, settings), secret, settings)
    auth = Auth(
        store=users,
        hasher=hasher,
        sessions=Sessions(
            users, base.changes, shared=shared, has_cookie_cache=session_data is not None, max_age=max_age
        ),
        cookies=cookies,
        origins=TrustedOrigins(settings.public_url, [*settings.own_origins, *settings.trusted_origins]),
        on_user_created=on_user_created,
        lockout=Lockout(CentralWrongPasswords(central), secret, locks=base.worker.locks),
        places=addresses.codes.places,
        rules=await open_password_rules(settings, stack),
        fresh_age=timedelta(seconds=settings.session_fresh_s),
        admit=_admission(base.limiter, settings),
        audit=base.audit,
        verification=addresses if settings.email_verification == "required" else None,
    )
    tokens = open_tokens(
        central,
        base.changes,
        auth.sessions,
        secret,
        settings.public_url,
        signing_key_max_age=timedelta(days=settings.jwt_key_days),
        session_max_age=max_age,
    )
    return AuthServices(
        **vars(tokens),
        auth=auth,
        user_admin=UserAdmin(auth, CentralUserAdmin(central, users), addresses.notices),
        user_import=UserImport(CentralUserImport(central, provider_name)),
        session_data=session_data,
        guests=Guests(auth),
        social=await open_social(base, auth),
        accounts=open_accounts(auth, addresses),
        email_addresses=addresses,
        code_sign_in=CodeSignIn(auth, addresses.store, addresses.codes),
        password_resets=open_password_resets(auth, addresses),
    )


def _admission(limiter: Limiter, settings: Settings) -> Callable[[str], Awaitable[None]] | None:
    """The limit on databases created from one address, if any."""
    rate = settings.rate_limit_new_databases
    if settings.rate_limits == "off" or rate.is_off:
        return None

    async def admit(source: str) -> None:
        verdict = await hit_from(limiter, source, "new-database", rate)
        if not verdict.is_allowed:
            raise RateLimited(verdict.reset_s)

    return admit
