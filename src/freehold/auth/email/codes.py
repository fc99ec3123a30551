"""One-time codes by mail: six digits, five minutes, once, and few tries.

A code stands in the database as a keyed hash only: whoever reads the database cannot use it, though six digits are
soon guessed. Whoever guesses is counted by place and hurts themselves. The place that asked for a code has three
tries at it, which nobody else can use up; all other places together have five more, and asking elsewhere replaces
nothing. A place that goes on guessing waits longer and longer; so do, after a hundred wrong ones in a row, all
strange places that try codes they have not asked for. What odds that leaves: docs/decisions/0022-guessing-codes.md.
"""

import base64
import hmac
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeVar

import msgspec

from freehold.auth.email.code_rows import CodeRows
from freehold.auth.email.mail_quota import TooSoon
from freehold.auth.errors import MailUnavailable
from freehold.auth.outgoing_email import EmailKind, Language, OutgoingEmail
from freehold.auth.places import Place, Places
from freehold.auth.ports import Mailer
from freehold.auth.verifications import OneTimeUse, Rows, VerificationStore
from freehold.dates import utc_now
from freehold.errors import CentralUnavailable, FreeholdError, RateLimited
from freehold.limiting import Rate

T = TypeVar("T")

CodeKind = Literal["sign-in", "email-verification", "forget-password", "change-email"]

LIFETIME = timedelta(minutes=5)
_EMAIL_KINDS: dict[CodeKind, EmailKind] = {
    "sign-in": "sign-in-code",
    "email-verification": "verify-code",
    "forget-password": "reset-code",
    "change-email": "change-email-code",
}


class Purpose(msgspec.Struct, frozen=True, kw_only=True):
    """What a code is good for, and nothing else. `email`, in lower case, is where it is sent to.

    To change an address, it is the new one, and `old_email` the one that it replaces.
    """

    kind: CodeKind
    email: str
    old_email: str = ""

    @property
    def identifier(self) -> str:
        """The row of the code."""
        if self.kind == "change-email":
            return f"change-email-otp-{self.old_email}-{self.email}"
        return f"{self.kind}-otp-{self.email}"


def random_code() -> str:
    return f"{secrets.randbelow(1_000_000):06}"


@dataclass(frozen=True, slots=True)
class Codes:
    """Sends codes and tells right from wrong ones. `rate` is how many go to one address, for one place.

    `source` is the network address that asks or tries (`Client.source`), or whoever else answers for it.
    """

    verifications: VerificationStore
    mailer: Mailer
    places: Places
    secret: str
    rate: Rate
    clock: Callable[[], datetime] = utc_now
    new_code: Callable[[], str] = random_code

    async def send(self, purpose: Purpose, language: Language, source: str, *, has_reader: bool = True) -> None:
        """Mail a new code; the one that this place had asked for is void.

        Where strangers have had so much mail sent that no more goes out, the newest code of theirs is in the same
        mailbox, and will do. Without a reader everything happens but the mail, and all that can be seen from outside
        is the same.

        Raises:
            RateLimited: too many codes for this address.
            MailUnavailable, MailRefused: the mail did not go out. The former does not count as sent.
        """
        code, now, place = self.new_code(), self.clock(), await self.places.at(purpose.email, source)

        def add(rows: CodeRows) -> tuple[TooSoon | None, bool]:
            too_soon = rows.add(self._hash(purpose, code), LIFETIME, now)
            return too_soon, bool(rows.live(now))

        too_soon, has_code = await self._update(purpose, place, add)
        if too_soon is not None:
            if has_code and not too_soon.is_own:
                return
            raise RateLimited(too_soon.wait_s)
        message = OutgoingEmail(to=purpose.email, kind=_EMAIL_KINDS[purpose.kind], language=language, secret=code)
        try:
            await (self.mailer.send(message) if has_reader else self.mailer.rehearse(message))
        except MailUnavailable:
            with suppress(CentralUnavailable):
                await self._update(purpose, place, lambda rows: rows.take_back(now))
            raise

    async def check(self, purpose: Purpose, code: str, source: str) -> OneTimeUse:
        """What shows that the code was right; whoever does what it is good for uses it up in the same transaction.

        Raises:
            WrongCode: it is wrong, used, replaced by a newer one, or was never sent.
            CodeExpired: it would have been right, or not, five minutes ago.
            TooManyTries: too many wrong ones before; from here this one is void, too.
            RateLimited: too many wrong ones from this place, or from strange ones; this one was not looked at.
        """
        now, place = self.clock(), await self.places.at(purpose.email, source)
        return await self._judged(purpose, place, lambda rows: self._judge(rows, purpose, code, now))

    async def use(self, purpose: Purpose, code: str, source: str) -> None:
        """Use it up at once, for what begins after this. Raises as `check` does."""
        now, place = self.clock(), await self.places.at(purpose.email, source)

        def take(rows: CodeRows) -> OneTimeUse | FreeholdError:
            found = self._judge(rows, purpose, code, now)
            if isinstance(found, OneTimeUse):
                for identifier in (found.identifier, *found.clears):
                    rows.rows.pop(identifier, None)
            return found

        await self._judged(purpose, place, take)

    async def _judged(
        self, purpose: Purpose, place: Place, judge: Callable[[CodeRows], OneTimeUse | FreeholdError]
    ) -> OneTimeUse:
        found = await self._update(purpose, place, judge)
        if isinstance(found, FreeholdError):
            raise found
        return found

    async def _update(self, purpose: Purpose, place: Place, decide: Callable[[CodeRows], T]) -> T:
        def seen_from(rows: Rows) -> CodeRows:
            return CodeRows(identifier=purpose.identifier, email=purpose.email, place=place, rate=self.rate, rows=rows)

        return await self.verifications.update(seen_from({}).names, lambda rows: decide(seen_from(rows)))

    def _judge(self, rows: CodeRows, purpose: Purpose, code: str, now: datetime) -> OneTimeUse | FreeholdError:
        tried = self._hash(purpose, code)
        found = rows.judge(lambda sent: hmac.compare_digest(tried, sent.code_hash), now)
        if isinstance(found, FreeholdError):
            return found
        # With one of them all the codes of this purpose are used up.
        clears = (rows.tries_here,)
        return OneTimeUse(identifier=purpose.identifier, value=found.key, clears=clears, is_one_of=True)

    def _hash(self, purpose: Purpose, code: str) -> str:
        text = f"one-time code\0{purpose.identifier}\0{code}"
        digest = hmac.digest(self.secret.encode(), text.encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
