"""What passwords may be."""

import asyncio
from contextlib import AsyncExitStack
from email.utils import parseaddr

from freehold.auth.passwords.rules import BreachedPasswords, PasswordRules, words_of_service
from freehold.settings.fields import BadSettings, Settings


async def open_password_rules(settings: Settings, stack: AsyncExitStack) -> PasswordRules:
    """What new passwords may be. Raises `BadSettings` if there is nothing at PASSWORD_BREACH_PATH."""
    sender = parseaddr(settings.mail_from)[0]
    words = words_of_service(settings.public_url, sender, *settings.password_words)
    breached: BreachedPasswords | None = None
    if settings.password_breach_path is not None:
        path = settings.password_breach_path
        if not await asyncio.to_thread(path.exists):
            raise BadSettings([f"PASSWORD_BREACH_PATH: there is no file or folder `{path}`"])
        from freehold.breaches.service import BreachFiles

        breached = BreachFiles(path)
    elif settings.password_breach_url:
        from freehold.breaches.service import open_breach_service

        breached = await stack.enter_async_context(open_breach_service(settings.password_breach_url))
    return PasswordRules(words, breached)
