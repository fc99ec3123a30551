"""Notifies users by e-mail that their address or password was changed.

A notice goes to the previous address if it was verified, and contains no code or link. It is best effort: the change
stands even if the notice cannot be sent.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from freehold.auth.email.mail_quota import MailQuota, note_mail
from freehold.auth.outgoing_email import Language, NoticeKind, OutgoingEmail
from freehold.auth.places import Places, place_of
from freehold.auth.ports import Mailer
from freehold.auth.types import User
from freehold.auth.verifications import VerificationStore
from freehold.dates import utc_now
from freehold.errors import FreeholdError
from freehold.limiting import Rate
from freehold.log import get_logger

_PATIENCE_S = 5.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class Notices:
    """Sends notices; `rate` limits them for each account."""

    verifications: VerificationStore
    mailer: Mailer
    places: Places
    rate: Rate
    clock: Callable[[], datetime] = utc_now

    async def send(self, kind: NoticeKind, before: User, language: Language = "en") -> None:
        """Notify the user as they were `before` the change; nothing is sent if that address was not verified."""
        if not before.email_verified:
            return
        message = OutgoingEmail(to=before.email, kind=kind, language=language, secret="")
        try:
            async with asyncio.timeout(_PATIENCE_S):
                quota = MailQuota("notice", before.email, await self.places.at(before.email, place_of(before.user_id)))
                now = self.clock()
                too_soon = await self.verifications.update(
                    quota.identifiers, lambda rows: note_mail(rows, quota, self.rate, now)
                )
                if too_soon is None:
                    await self.mailer.send(message)
        except (FreeholdError, TimeoutError) as error:
            log.warning("user.notice_not_sent", kind=kind, user_id=before.user_id, reason=type(error).__name__)
