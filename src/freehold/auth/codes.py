"""One-time codes by mail: six digits, five minutes, three tries, once.

A code stands in the database as a keyed hash only: whoever reads the database cannot use it, though six digits are
soon guessed. Wrong tries count for the address, not for the code, so that asking for another one does not give more
of them; and so few codes are sent to one address that it cannot be flooded either.
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

from freehold.auth.dates import utc_now
from freehold.auth.errors import CodeExpired, MailUnavailable, TooManyTries, WrongCode
from freehold.auth.letters import Language, Letter, LetterKind
from freehold.auth.mail_quota import MailQuota, forget_mail, note_mail
from freehold.auth.pending import Pending, PendingStore, Rows, Ticket
from freehold.auth.ports import Mailer
from freehold.errors import CentralUnavailable, FreeholdError
from freehold.limiting import Rate, RateLimited

T = TypeVar("T")

CodeKind = Literal["sign-in", "email-verification", "forget-password", "change-email"]

LIFETIME = timedelta(minutes=5)
MAX_TRIES = 3

_LETTERS: dict[CodeKind, LetterKind] = {
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

    @property
    def tries_identifier(self) -> str:
        """The row that counts wrong tries."""
        return f"code-tries-{self.email}"

    @property
    def quota(self) -> MailQuota:
        return MailQuota("code", self.email)


def random_code() -> str:
    return f"{secrets.randbelow(1_000_000):06}"


@dataclass(frozen=True, slots=True)
class Codes:
    """Sends codes and tells right from wrong ones. `rate` is how many go to one address."""

    pending: PendingStore
    mailer: Mailer
    secret: str
    rate: Rate
    clock: Callable[[], datetime] = utc_now
    new_code: Callable[[], str] = random_code

    async def send(self, purpose: Purpose, language: Language, *, has_reader: bool = True) -> None:
        """Mail a new code; the one before it is void.

        Without a reader everything happens but the mail, and all that can be seen from outside is the same.

        Raises:
            RateLimited: too many codes, or too many wrong tries, for this address.
            MailUnavailable, MailRefused: the mail did not go out. The former does not count as sent.
        """
        code, now = self.new_code(), self.clock()
        wait_s = await self._settle(purpose, lambda rows: self._renew(rows, purpose, code, now))
        if wait_s:
            raise RateLimited(wait_s)
        letter = Letter(to=purpose.email, kind=_LETTERS[purpose.kind], language=language, secret=code)
        try:
            await (self.mailer.send(letter) if has_reader else self.mailer.rehearse(letter))
        except MailUnavailable:
            with suppress(CentralUnavailable):
                await self._settle(purpose, lambda rows: _take_back(rows, purpose, now))
            raise

    async def check(self, purpose: Purpose, code: str) -> Ticket:
        """What shows that the code was right; whoever does what it is good for uses it up in the same transaction.

        Raises:
            WrongCode: it is wrong, used, replaced by a newer one, or was never sent.
            CodeExpired: it would have been right, or not, five minutes ago.
            TooManyTries: too many wrong ones before; this one is void, too.
        """
        now = self.clock()
        found = await self._settle(purpose, lambda rows: self._judge(rows, purpose, code, now))
        if isinstance(found, FreeholdError):
            raise found
        return found

    async def use(self, purpose: Purpose, code: str) -> None:
        """Use it up at once, for what begins after this. Raises as `check` does."""
        now = self.clock()

        def take(rows: Rows) -> FreeholdError | None:
            found = self._judge(rows, purpose, code, now)
            if isinstance(found, FreeholdError):
                return found
            for identifier in (found.identifier, *found.clears):
                rows.pop(identifier, None)
            return None

        error = await self._settle(purpose, take)
        if error is not None:
            raise error

    async def _settle(self, purpose: Purpose, decide: Callable[[Rows], T]) -> T:
        identifiers = [purpose.identifier, purpose.tries_identifier, purpose.quota.identifier]
        return await self.pending.settle(identifiers, decide)

    def _renew(self, rows: Rows, purpose: Purpose, code: str, now: datetime) -> int:
        """Seconds to wait before another one may be asked for; 0 when this one is stored."""
        if _tries_over(rows, purpose, now) >= MAX_TRIES and not self.rate.is_off:
            return _seconds_until(rows[purpose.tries_identifier].expires_at, now)
        if wait_s := note_mail(rows, purpose.quota, self.rate, now):
            return wait_s
        rows[purpose.identifier] = Pending(value=f"{self._hash(purpose, code)}:0", expires_at=now + LIFETIME)
        return 0

    def _judge(self, rows: Rows, purpose: Purpose, code: str, now: datetime) -> Ticket | FreeholdError:
        found = rows.get(purpose.identifier)
        if found is None:
            return WrongCode("this code is not the one that was sent last")
        if found.expires_at <= now:
            return CodeExpired("this code has expired; ask for another one")
        code_hash, _, text = found.value.rpartition(":")
        tries, over = int(text), _tries_over(rows, purpose, now)
        if max(tries, 0 if self.rate.is_off else over) >= MAX_TRIES:
            del rows[purpose.identifier]
            return TooManyTries("too many wrong codes; ask for another one later")
        if not hmac.compare_digest(self._hash(purpose, code), code_hash):
            rows[purpose.identifier] = Pending(value=f"{code_hash}:{tries + 1}", expires_at=found.expires_at)
            self._count_try(rows, purpose, over, now)
            return WrongCode("this code is not the one that was sent last")
        return Ticket(identifier=purpose.identifier, value=found.value, clears=(purpose.tries_identifier,))

    def _count_try(self, rows: Rows, purpose: Purpose, over: int, now: datetime) -> None:
        if self.rate.is_off:
            return
        # The first wrong one opens the window; those after it do not put off its end.
        expires_at = now + timedelta(seconds=self.rate.window_s)
        if over:
            expires_at = rows[purpose.tries_identifier].expires_at
        rows[purpose.tries_identifier] = Pending(value=str(over + 1), expires_at=expires_at)

    def _hash(self, purpose: Purpose, code: str) -> str:
        text = f"one-time code\0{purpose.identifier}\0{code}"
        digest = hmac.digest(self.secret.encode(), text.encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _tries_over(rows: Rows, purpose: Purpose, now: datetime) -> int:
    """Wrong tries in the window that is open, over all codes for this address."""
    found = rows.get(purpose.tries_identifier)
    return int(found.value) if found is not None and found.expires_at > now else 0


def _take_back(rows: Rows, purpose: Purpose, sent_at: datetime) -> None:
    rows.pop(purpose.identifier, None)
    forget_mail(rows, purpose.quota, sent_at)


def _seconds_until(moment: datetime, now: datetime) -> int:
    return max(1, round((moment - now).total_seconds()))
