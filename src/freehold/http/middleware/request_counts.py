"""How many requests there were and how long they took, by class of route: plain numbers of one event loop.

Counted for each request, so without locks or objects: under a microsecond, where a metrics library's own counters
take three. The library comes in when somebody reads them, see `http/operations/metrics.py`.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from functools import lru_cache

# Upper bounds in seconds; the last bucket, without one, is everything else.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_CLASSES = (
    ("/db", "database"),
    ("/api/auth/get-session", "get-session"),
    ("/api/auth/sign-in", "sign-in"),
    ("/api/auth/sign-up", "sign-in"),
    ("/api/auth", "auth"),
    ("/api/v1/auth", "auth"),
    ("/databases", "credentials"),
    ("/migrations", "registry"),
    ("/admin", "admin"),
    ("/console", "admin"),
    ("/schema", "schema"),
    ("/health", "health"),
    ("/ready", "health"),
    ("/metrics", "health"),
)


@lru_cache(4096)
def route_class(path: str) -> str:
    """One of a dozen names: strangers choose paths, and each name is a row in somebody's memory."""
    for start, name in _CLASSES:
        if path == start or path.startswith(start + "/"):
            return name
    return "other"


class RequestCounts:
    """Filled by the request log. `statuses` by class and status (0: the client left before there was one)."""

    def __init__(self) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.buckets: dict[str, list[int]] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.refusals: Counter[str] = Counter()

    def note(self, path: str, status: int, seconds: float) -> None:
        """One request that has been answered."""
        name = route_class(path)
        self.statuses[name, status] += 1
        buckets = self.buckets.get(name)
        if buckets is None:
            buckets = self.buckets[name] = [0] * (len(BOUNDS_S) + 1)
        buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds[name] += seconds

    def note_refusal(self, limit: str) -> None:
        """One request that was over a rate limit."""
        self.refusals[limit] += 1
