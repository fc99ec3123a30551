"""Sitting out the time when nothing can be provisioned at all."""

from collections.abc import Callable
from dataclasses import dataclass

from freehold.backoff import OUTAGE, is_worth_a_line
from freehold.errors import FreeholdError
from freehold.log import get_logger
from freehold.tenants.ports import Clock

log = get_logger()


@dataclass(slots=True)
class Cooldown:
    """Counts failures in a row, waits longer after each, and says so now and then rather than each time."""

    clock: Clock
    random: Callable[[], float]
    failures: int = 0
    since_ms: int = 0

    async def wait_after(self, error: Exception) -> None:
        """Note a failure and wait before the next look."""
        if not self.failures:
            self.since_ms = self.clock.now_ms()
        self.failures += 1
        if not isinstance(error, FreeholdError):
            log.error("provisioner.failed", failures=self.failures, exc_info=error)
        elif is_worth_a_line(self.failures):
            log.warning("provisioner.paused", code=error.code, reason=str(error), failures=self.failures)
        await self.clock.sleep(OUTAGE.delay_s(self.failures, self.random))

    def is_over(self) -> None:
        """Note that everything answers (again)."""
        if self.failures:
            log.info("provisioner.resumed", after_ms=self.clock.now_ms() - self.since_ms)
            self.failures = 0
