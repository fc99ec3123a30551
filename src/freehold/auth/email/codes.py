"""One-time codes by e-mail: six digits, valid for five minutes, with few tries.

The database stores a code only as a keyed hash, so that reading the database does not reveal it. Wrong guesses are
counted by place, so guessers lock out only themselves. The place that asked for a code has three tries, which nobody
else can use up; all other places together have five, and asking from another place does not replace the code. A place
that keeps guessing has to wait longer each time; so do, after a hundred wrong tries in a row, all unknown places that
try codes they did not ask for. The remaining odds are in docs/decisions/0022-guessing-codes.md.
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
    """What a code may be used for. `email`, in lower case, is the address it is sent to.

    To change an address, `email` is the new one and `old_email` the current one.
    """

    kind: CodeKind
    email: str
    old_email: str = ""

    @property
    def identifier(self) -> str:
        """The identifier of the row with the codes."""
        if self.kind == "change-email":
            return f"change-email-otp-{self.old_email}-{self.email}"
        return f"{self.kind}-otp-{self.email}"


def random_code() -> str:
    return f"{secrets.randbelow(1_000_000):06}"


@dataclass(frozen=True, slots=True)
class Codes:
    """Sends and checks codes. `rate` limits the codes to one address for one place.

    `source` is the network address of the request (`Client.source`), or the account that is held responsible for it.
    """

    verifications: VerificationStore
    mailer: Mailer
    places: Places
    secret: str
    rate: Rate
    clock: Callable[[], datetime] = utc_now
    new_code: Callable[[], str] = random_code

    async def send(self, purpose: Purpose, language: Language, source: str, *, has_reader: bool = True) -> None:
        """Mail a new code; it replaces the one that this place asked for before.

        If unknown places have used up their quota, nothing is sent: their newest code is in the same mailbox and also
        works. Without a reader everything but the mail happens, so that nothing differs for an observer.

        Raises:
            RateLimited: too many codes for this address.
            MailUnavailable, MailRefused: the mail was not sent. The former is not counted as sent.
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
        """Check the code. The result must be used up in the transaction that does what the code is for.

        Raises:
            WrongCode: it is wrong, used, replaced by a newer one, or was never sent.
            CodeExpired: all codes sent have expired; this one may have been right or not.
            TooManyTries: too many wrong tries before; from this place the code is void.
            RateLimited: too many wrong tries from this place, or from unknown ones; this one was not checked.
        """
        now, place = self.clock(), await self.places.at(purpose.email, source)
        return await self._judged(purpose, place, lambda rows: self._judge(rows, purpose, code, now))

    async def use(self, purpose: Purpose, code: str, source: str) -> None:
        """Check the code and use it up at once. Raises as `check` does."""
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
        # Using one code up uses up all codes for this purpose.
        clears = (rows.tries_here,)
        return OneTimeUse(identifier=purpose.identifier, value=found.key, clears=clears, is_one_of=True)

    def _hash(self, purpose: Purpose, code: str) -> str:
        text = f"one-time code\0{purpose.identifier}\0{code}"
        digest = hmac.digest(self.secret.encode(), text.encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
