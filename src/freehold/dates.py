"""Dates as better-auth's client reads them: UTC, exactly three fractional digits, `Z`.

Any other number of digits is misread: the client takes the fraction for a number of milliseconds.
"""

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)


def to_iso(moment: datetime) -> str:
    """`2026-01-31T10:20:30.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def from_iso(text: str) -> datetime:
    """Reads what `to_iso` writes, and every other ISO-8601 form; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def from_ms(milliseconds: int) -> datetime:
    """The time this many milliseconds after the start of 1970, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
