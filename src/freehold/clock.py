"""The time of this machine."""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SystemClock:
    """Implements `Clock`."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
