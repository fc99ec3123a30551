"""Limits the mails to one address, for each place that asks and for all unknown places together.

A place may ask for a limited number of mails in any window. All places from which the address has not signed in also
share a second count: four times as many, then one after five minutes, ten, twenty, and every half hour. So a stranger
can neither flood an address nor use up its owner's quota.
"""

import math
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from freehold.auth.lockout import Delays
from freehold.auth.places import Place
from freehold.auth.verifications import Rows, Verification
from freehold.limiting import Rate

_PLACES = 4
_FIRST, _LONGEST = timedelta(minutes=5), timedelta(minutes=30)
_REMEMBERED = timedelta(days=1)


class MailQuota(msgspec.Struct, frozen=True):
    """Codes, links and notices have separate quotas."""

    what: Literal["code", "link", "notice"]
    email: str
    place: Place

    @property
    def own(self) -> str:
        """The row with the times of the newest mails that this place asked for."""
        return f"{self.what}-mails-{self.email} {self.place.key}"

    @property
    def strangers(self) -> str:
        """The row with the times of those that all unknown places asked for."""
        return f"{self.what}-mails-{self.email}"

    @property
    def identifiers(self) -> list[str]:
        return [self.own, self.strangers]


class TooSoon(msgspec.Struct, frozen=True):
    """Seconds until the next mail is allowed. `is_own`: this place itself asked too often."""

    wait_s: int
    is_own: bool


def note_mail(rows: Rows, quota: MailQuota, rate: Rate, now: datetime) -> TooSoon | None:
    """Count one more mail; if it is not allowed, count nothing and return when it will be."""
    if rate.is_off:
        return None
    window = timedelta(seconds=rate.window_s)
    own = _since(rows, quota.own, now - window)
    if len(own) >= rate.hits:
        return TooSoon(_seconds(own[-rate.hits], window, now), is_own=True)
    if not quota.place.is_known:
        theirs = _since(rows, quota.strangers, now - _REMEMBERED)
        gap = timedelta(milliseconds=_spacing(rate).after(len(theirs)))
        if gap and _ms(now) < theirs[-1] + _in_ms(gap):
            return TooSoon(_seconds(theirs[-1], gap, now), is_own=False)
        _keep(rows, quota.strangers, [*theirs, _ms(now)], now + _REMEMBERED)
    _keep(rows, quota.own, [*own, _ms(now)], now + window)
    return None


def forget_mail(rows: Rows, quota: MailQuota, sent_at: datetime) -> None:
    """Remove what `note_mail` counted at this time, because the mail was not sent."""
    for identifier in quota.identifiers:
        found = rows.get(identifier)
        times = _times(rows, identifier)
        if found is not None and _ms(sent_at) in times:
            times.remove(_ms(sent_at))
            _keep(rows, identifier, times, found.expires_at)


def _spacing(rate: Rate) -> Delays:
    return Delays(free=_PLACES * rate.hits, first_ms=_in_ms(_FIRST), longest_ms=_in_ms(_LONGEST))


def _seconds(last_ms: int, gap: timedelta, now: datetime) -> int:
    """At least 1; capped because `now` may be older than `last_ms` if the request waited for the write lock."""
    wait_s = math.ceil((last_ms + _in_ms(gap) - _ms(now)) / 1000)
    return min(max(1, wait_s), math.ceil(gap.total_seconds()))


def _since(rows: Rows, identifier: str, moment: datetime) -> list[int]:
    return sorted(time for time in _times(rows, identifier) if time > _ms(moment))


def _times(rows: Rows, identifier: str) -> list[int]:
    found = rows.get(identifier)
    return [int(text) for text in found.value.split(",") if text] if found else []


def _keep(rows: Rows, identifier: str, times: list[int], expires_at: datetime) -> None:
    rows[identifier] = Verification(value=",".join(map(str, times)), expires_at=expires_at)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _in_ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
