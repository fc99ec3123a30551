"""The codes that wait for one purpose, in the row that keeps them, each with the wrong tries at it.

A row holds `PLACE:HASH:EXPIRES_MS:WRONG_HERE:WRONG_ELSEWHERE` for each code, joined by commas, the newest last. What
97dc196 wrote, `HASH:WRONG`, is a code that no place asked for.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from freehold.auth.pending import Pending

_EPOCH, _MS = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_KEPT_EXPIRED = 5  # so that who comes too late is told so


class SentCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code as a keyed hash. Wrong tries count apart for the place that asked for it and for all others."""

    place: str
    code_hash: str
    expires_at: datetime
    wrong_here: int = 0
    wrong_elsewhere: int = 0

    @property
    def key(self) -> str:
        """What it is known by in its row; wrong tries do not change it."""
        return f"{self.place}:{self.code_hash}:{_ms(self.expires_at)}" if self.place else self.code_hash


def read_codes(found: Pending | None) -> list[SentCode]:
    """The codes in a row, expired or not; none outlives its row."""
    if found is None:
        return []
    return [_read(text, found.expires_at) for text in found.value.split(",")]


def write_codes(codes: list[SentCode], now: datetime) -> Pending | None:
    """The row for these codes; None for none. Of those that have expired only a few are kept."""
    expired = [code for code in codes if code.expires_at <= now][-_KEPT_EXPIRED:]
    kept = [code for code in codes if code.expires_at > now or code in expired]
    if not kept:
        return None
    value = ",".join(map(_text, kept))
    return Pending(value=value, expires_at=max(code.expires_at for code in kept))


def holds_code(value: str, key: str) -> bool:
    """Whether this code is still in a row with that value, however often it was missed since."""
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
