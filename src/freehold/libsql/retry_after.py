"""When a server says to come back."""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from now, as `Retry-After` says it: a number, or a moment (RFC 9110, 10.2.3). None if it says neither.

    better-auth says it as `X-Retry-After`.
    """
    text = headers.get("Retry-After") or headers.get("X-Retry-After") or ""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
