"""Batches on a connection that no event loop looks after."""

import threading
from collections.abc import Sequence

from freehold.errors import FreeholdError
from freehold.libsql.protocol import Batch, BatchResult
from freehold.providers.sqlite.limits import Budget, Limits
from freehold.providers.sqlite.pipeline import Pipeline
from freehold.providers.sqlite.session import Session


def run_timed(
    session: Session, batches: Sequence[Batch], limits: Limits, limit_s: float, reason: FreeholdError
) -> list[BatchResult]:
    """Run the batches in order, on the calling thread, and leave the connection as new.

    Raises:
        FreeholdError: `reason`, when it takes longer than `limit_s`: a statement without end would keep the process
            from ending.
    """
    session.start_request(limits)
    pipeline = Pipeline(session, {}, Budget(limits.result_bytes))
    timer = threading.Timer(limit_s, session.alarm.cancel, [reason])
    timer.daemon = True
    timer.start()
    try:
        return [pipeline.batch(batch) for batch in batches]
    finally:
        timer.cancel()
        session.reset()
