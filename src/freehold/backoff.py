"""How long to wait before the next try."""

import math
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Exponential backoff with full jitter: many that failed together do not retry together.

    `steady` is the fraction of the longest wait that is not random. Source: "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015.
    """

    base_s: float
    cap_s: float
    steady: float = 0.0

    def delay_s(self, failures: int, random: Callable[[], float] = random.random) -> float:
        """Seconds to wait after this many failures in a row; `random` returns a number in [0, 1)."""
        # 2**60 is beyond any cap; larger powers would only overflow the float.
        longest = min(self.cap_s, self.base_s * 2.0 ** min(max(failures - 1, 0), 60))
        # Never sooner than a tenth of the longest wait: chance must not make it spin.
        return longest * max(0.1, self.steady + (1 - self.steady) * random())


# For what may be over in a moment: no answer, disk full, too slow.
SOON = Backoff(base_s=0.5, cap_s=60.0)
# For what someone has to repair first: a migration that fails on this database, or a bug.
SLOWLY = Backoff(base_s=5.0, cap_s=600.0)
# For when nothing can be done at all. Never long, as sign-ups wait for the end of it.
OUTAGE = Backoff(base_s=0.5, cap_s=10.0)


def is_worth_a_line(failures: int) -> bool:
    """Whether this failure in a row is logged: the 1st, 2nd, 4th, 8th, and so on."""
    return failures & (failures - 1) == 0


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `Retry-After`, a number or a date (RFC 9110, 10.2.3), or better-auth's `X-Retry-After`."""
    text = headers.get("Retry-After") or headers.get("X-Retry-After") or ""
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = parsedate_to_datetime(text)
            seconds = when.replace(tzinfo=when.tzinfo or UTC).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
