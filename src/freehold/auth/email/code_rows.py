"""The stored state of the codes for one purpose, seen from one place: codes, wrong tries, mails sent.

Everything here runs in one transaction of `VerificationStore.update`.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec.structs import replace

from freehold.auth.email.mail_quota import MailQuota, TooSoon, forget_mail, note_mail
from freehold.auth.errors import CodeExpired, TooManyTries, WrongCode
from freehold.auth.lockout import FROM_ONE_PLACE, Delays
from freehold.auth.places import Place
from freehold.auth.verifications import Rows, Verification
from freehold.errors import FreeholdError, RateLimited
from freehold.limiting import Rate

# Codes are stored in one row per purpose, each with its wrong tries.
#
# The row's value is `PLACE:HASH:EXPIRES_MS:WRONG_HERE:WRONG_ELSEWHERE` for each code, joined by commas, newest last.
# The older format of 97dc196, `HASH:WRONG`, is read as a code that no place asked for.

_EPOCH, _MS = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_KEPT_EXPIRED = 5  # so that a user who is late gets "expired" instead of "wrong"


class SentCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code as a keyed hash. Wrong tries from the place that asked for it are counted separately from all others."""

    place: str
    code_hash: str
    expires_at: datetime
    wrong_here: int = 0
    wrong_elsewhere: int = 0

    @property
    def key(self) -> str:
        """Identifies the code in its row, independent of wrong tries."""
        return f"{self.place}:{self.code_hash}:{_ms(self.expires_at)}" if self.place else self.code_hash


def read_codes(found: Verification | None) -> list[SentCode]:
    """The codes in a row, including expired ones; none expires later than its row."""
    if found is None:
        return []
    return [_read(text, found.expires_at) for text in found.value.split(",")]


def write_codes(codes: list[SentCode], now: datetime) -> Verification | None:
    """The row for these codes, or None if there are none. Only the newest few expired codes are kept."""
    expired = [code for code in codes if code.expires_at <= now][-_KEPT_EXPIRED:]
    kept = [code for code in codes if code.expires_at > now or code in expired]
    if not kept:
        return None
    value = ",".join(map(_text, kept))
    return Verification(value=value, expires_at=max(code.expires_at for code in kept))


def holds_code(value: str, key: str) -> bool:
    """Whether a row with that value still contains the code with this key, whatever its wrong tries."""
    return any(text == key or text.startswith(f"{key}:") for text in value.split(","))


def _read(text: str, latest: datetime) -> SentCode:
    parts = text.split(":")
    if len(parts) == 2:
        return SentCode(place="", code_hash=parts[0], expires_at=latest, wrong_elsewhere=int(parts[1]))
    place, code_hash, expires_ms, here, elsewhere = parts
    return SentCode(
        place=place,
        code_hash=code_hash,
        expires_at=min(_EPOCH + int(expires_ms) * _MS, latest),
        wrong_here=int(here),
        wrong_elsewhere=int(elsewhere),
    )


def _text(code: SentCode) -> str:
    wrong = f"{code.wrong_here}:{code.wrong_elsewhere}" if code.place else str(code.wrong_elsewhere)
    return f"{code.key}:{wrong}"


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MS


MAX_TRIES = 3
MAX_TRIES_ELSEWHERE = 5
FROM_ANYWHERE = Delays(free=100, first_ms=60_000, longest_ms=30 * 60_000)

_REMEMBERED = timedelta(days=1)


class CodeRows(msgspec.Struct, frozen=True, kw_only=True):
    """`identifier` is the row with the codes, `email` the address that they are sent to."""

    identifier: str
    email: str
    place: Place
    rate: Rate
    rows: Rows

    @property
    def names(self) -> list[str]:
        """All rows that may be read or written."""
        return [self.identifier, self._strangers, self.tries_here, *self._quota.identifiers]

    @property
    def tries_here(self) -> str:
        """The row that counts wrong tries from this place."""
        return f"{self._strangers} {self.place.key}"

    @property
    def _strangers(self) -> str:
        """The row that counts wrong tries from all unknown places."""
        return f"code-tries-{self.email}"

    @property
    def _quota(self) -> MailQuota:
        return MailQuota("code", self.email, self.place)

    def add(self, code_hash: str, lifetime: timedelta, now: datetime) -> TooSoon | None:
        """Replace this place's code with a new one; or return why no mail may be sent."""
        too_soon = note_mail(self.rows, self._quota, self.rate, now)
        if too_soon is None:
            made = SentCode(place=self.place.key, code_hash=code_hash, expires_at=now + lifetime)
            self._keep([*self._of_others(), made], now)
        return too_soon

    def take_back(self, sent_at: datetime) -> None:
        """Undo `add` because the mail was not sent."""
        self._keep(self._of_others(), sent_at)
        forget_mail(self.rows, self._quota, sent_at)

    def live(self, now: datetime) -> list[SentCode]:
        """The unexpired codes of all places."""
        return [code for code in self._sent() if code.expires_at > now]

    def judge(self, is_right: Callable[[SentCode], bool], now: datetime) -> SentCode | FreeholdError:
        """The matching code; or the error to raise, after counting the wrong try."""
        if wait_s := self._wait_s(self.tries_here, FROM_ONE_PLACE, now):
            return RateLimited(wait_s)
        live = self.live(now)
        if not live:
            return CodeExpired() if self._sent() else WrongCode()
        own = next((code for code in live if code.place == self.place.key), None)
        if own is None:
            return self._judge_elsewhere(live, is_right, now)
        if own.wrong_here >= self._tries_allowed(now):
            self._keep(self._of_others(), now)
            return TooManyTries()
        if is_right(own):
            return own
        return self._missed({own: replace(own, wrong_here=own.wrong_here + 1)}, now)

    def _judge_elsewhere(
        self, live: list[SentCode], is_right: Callable[[SentCode], bool], now: datetime
    ) -> SentCode | FreeholdError:
        """Try the codes of other places: their owner may have changed networks."""
        if not self.place.is_known and (wait_s := self._wait_s(self._strangers, FROM_ANYWHERE, now)):
            return RateLimited(wait_s)
        tried = [code for code in live if code.wrong_elsewhere < MAX_TRIES_ELSEWHERE]
        if not tried:
            return TooManyTries()
        found = next(filter(is_right, tried), None)
        if found is not None:
            return found
        missed = {code: replace(code, wrong_elsewhere=code.wrong_elsewhere + 1) for code in tried}
        return self._missed(missed, now)

    def _tries_allowed(self, now: datetime) -> int:
        """Three, but one for unknown places once these have made too many wrong guesses."""
        if self.rate.is_off or self.place.is_known:
            return MAX_TRIES
        count, _ = self._counted(self._strangers, now)
        return MAX_TRIES if count < FROM_ANYWHERE.free else 1

    def _missed(self, missed: dict[SentCode, SentCode], now: datetime) -> WrongCode:
        self._keep([missed.get(code, code) for code in self._sent()], now)
        if not self.rate.is_off:
            self._count(self.tries_here, now)
            if not self.place.is_known:
                self._count(self._strangers, now)
        return WrongCode()

    def _sent(self) -> list[SentCode]:
        return read_codes(self.rows.get(self.identifier))

    def _of_others(self) -> list[SentCode]:
        return [code for code in self._sent() if code.place != self.place.key]

    def _keep(self, sent: list[SentCode], now: datetime) -> None:
        row = write_codes(sent, now)
        if row is None:
            self.rows.pop(self.identifier, None)
        else:
            self.rows[self.identifier] = row

    def _wait_s(self, name: str, delays: Delays, now: datetime) -> int:
        """Seconds until the next try is allowed; 0 if it is allowed now."""
        count, last = self._counted(name, now)
        delay = timedelta(milliseconds=delays.after(count))
        if self.rate.is_off or not delay:
            return 0
        # The times are from before the write lock: a request that waited for it may be older than `last`.
        return max(0, math.ceil(min(delay, last + delay - now).total_seconds()))

    def _count(self, name: str, now: datetime) -> None:
        count, _ = self._counted(name, now)
        self.rows[name] = Verification(value=str(count + 1), expires_at=now + _REMEMBERED)

    def _counted(self, name: str, now: datetime) -> tuple[int, datetime]:
        """The number of wrong tries, each less than a day after the previous one, and the time of the last one."""
        found = self.rows.get(name)
        if found is None or found.expires_at <= now:
            return 0, now
        return int(found.value), found.expires_at - _REMEMBERED
