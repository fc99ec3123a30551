"""What one tenant, and all tenants together, may use."""

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """What one tenant may use. Times are in seconds, sizes in bytes. Our own work need not take turns."""

    statement_s: float = 5.0
    request_s: float = 30.0
    transaction_s: float = 30.0
    database_bytes: int = 512_000_000
    result_bytes: int = 10_000_000
    takes_turns: bool = True


def limits_of(query_timeout_s: float, transaction_timeout_s: float, max_size_bytes: int) -> Limits:
    """The limits that follow from an operator's three."""
    return Limits(
        statement_s=query_timeout_s,
        request_s=6 * query_timeout_s,
        transaction_s=transaction_timeout_s,
        database_bytes=max_size_bytes,
    )


class EngineLimits(Struct, frozen=True, kw_only=True):
    """What the process may use for all tenants together, and for each tenant at a time."""

    threads: int = 64
    connections: int = 256
    connection_idle_s: float = 30.0
    waiting: int = 2000
    requests_each: int = 4
    waiting_each: int = 64
    streams: int = 128
    streams_each: int = 16
    stream_idle_s: float = 10.0
    memory_bytes: int = 512_000_000
    overdue_s: float = 1.0  # past its limit a statement counts as stuck
