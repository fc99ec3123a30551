"""What `/metrics` tells of sqld, where tenants are on one."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from freehold.providers.standing import Standing


def sqld_families(standing: Standing) -> Iterator[Metric]:
    """Prometheus's families for one look at it."""
    yield GaugeMetricFamily("freehold_sqld_up", "1 while sqld answers", int(standing.is_up))
    yield GaugeMetricFamily(
        "freehold_sqld_supervised",
        "1 while a supervisor starts sqld again",
        int(standing.supervision == "supervised"),
    )
    if standing.restarts is not None:
        yield CounterMetricFamily(
            "freehold_sqld_restarts", "Times that sqld was started again", standing.restarts
        )
    if standing.memory_bytes is not None:
        yield GaugeMetricFamily("freehold_sqld_memory_bytes", "Memory of sqld", standing.memory_bytes)
    yield GaugeMetricFamily(
        "freehold_sqld_places", "Calls of tenants that may run on sqld at once", standing.places
    )
    calls = GaugeMetricFamily(
        "freehold_sqld_calls",
        "Calls of tenants on sqld; those that linger were broken off and have not ended",
        labels=["state"],
    )
    for state, count in (
        ("running", standing.running),
        ("waiting", standing.waiting),
        ("lingering", standing.lingering),
    ):
        calls.add_metric([state], count)
    yield calls
    yield CounterMetricFamily(
        "freehold_sqld_stopped_calls", "Calls stopped for their time, or to make room", standing.stopped
    )
    yield CounterMetricFamily(
        "freehold_sqld_stuck", "Times that calls past their limit held every place", standing.stuck
    )
    yield GaugeMetricFamily(
        "freehold_sqld_slowed_tenants", "Tenants with one call at a time, for such calls", standing.slowed
    )
    yield CounterMetricFamily(
        "freehold_sqld_forced_logs",
        "Times that streams were closed because a log had grown too long",
        standing.logs_forced,
    )
