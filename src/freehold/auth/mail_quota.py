"""How much mail one address gets: at most so many in any span of time, whoever asks and for whatever."""

import math
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from freehold.auth.pending import Pending, Rows
from freehold.limiting import Rate


class MailQuota(msgspec.Struct, frozen=True):
    """Codes and links are counted apart, so that neither is used up by asking for the other."""

    what: Literal["code", "link"]
    email: str

    @property
    def identifier(self) -> str:
        """The row with the times of the newest mails."""
        return f"{self.what}-mails-{self.email}"


def note_mail(rows: Rows, quota: MailQuota, rate: Rate, now: datetime) -> int:
    """Count one more mail and give 0; or, when it would be too many, the seconds to wait for."""
    if rate.is_off:
        return 0
    now_ms, window_ms = _ms(now), rate.window_s * 1000
    sent = sorted(time for time in _times(rows, quota) if time > now_ms - window_ms)
    if len(sent) >= rate.hits:
        # Who has waited for the others to write comes with an earlier time than theirs.
        wait_s = math.ceil((sent[-rate.hits] + window_ms - now_ms) / 1000)
        return min(max(1, wait_s), rate.window_s)
    _keep(rows, quota, [*sent, now_ms], now + timedelta(seconds=rate.window_s))
    return 0


def forget_mail(rows: Rows, quota: MailQuota, sent_at: datetime) -> None:
    """Take back what `note_mail` counted at this time: the mail did not go out."""
    found = rows.get(quota.identifier)
    if found is not None:
        times = _times(rows, quota)
        if (taken := _ms(sent_at)) in times:
            times.remove(taken)
        _keep(rows, quota, times, found.expires_at)


def _times(rows: Rows, quota: MailQuota) -> list[int]:
    found = rows.get(quota.identifier)
    return [int(text) for text in found.value.split(",") if text] if found else []


def _keep(rows: Rows, quota: MailQuota, times: list[int], expires_at: datetime) -> None:
    rows[quota.identifier] = Pending(value=",".join(map(str, times)), expires_at=expires_at)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
