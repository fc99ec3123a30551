"""Metrics that each process counts for itself, summed over all processes that serve HTTP."""

import asyncio
from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec import Struct
from prometheus_client.core import Metric

from freehold.http_worker import HttpWorker

_PUBLISHED_EVERY_S = 1.0
_LASTING = {"counter", "histogram"}  # the other kinds describe a process, and end with it
_FIRST = {"process_start_time_seconds"}

_Labels = tuple[tuple[str, str], ...]


class _Family(Struct, array_like=True):
    """A metric with its samples, by their name and labels."""

    name: str
    documentation: str
    kind: str
    samples: list[tuple[str, _Labels, float]]


class SharedFigures:
    """`own` returns what this process has counted since it started.

    Each process writes its figures, with those of its predecessors that ended, on its board once a second, so that
    counters never go back. Whoever is asked adds up all boards.
    """

    def __init__(self, worker: HttpWorker, own: Callable[[], Iterable[Metric]]) -> None:
        self._own = own
        self._mine = worker.boards[worker.number] if worker.boards else None
        self._others = [board for board in worker.boards if board is not self._mine]
        earlier = [] if self._mine is None else _decoded(self._mine.read())
        self._earlier = [family for family in earlier if family.kind in _LASTING]

    async def run(self) -> None:
        """Publish this process's figures, until cancelled and once more then. Returns at once if nobody reads them."""
        if self._mine is None:
            return
        try:
            while True:
                self._mine.write(self._encoded())
                await asyncio.sleep(_PUBLISHED_EVERY_S)
        finally:
            self._mine.write(self._encoded())

    def total(self) -> Iterator[Metric]:
        """The sums over all processes; other processes' figures may be a second old."""
        if self._mine is None:
            yield from self._own()
            return
        for family in _sums([self._up_to_now(), *(_decoded(board.read()) for board in self._others)]):
            metric = Metric(family.name, family.documentation, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, dict(labels), value)
            yield metric

    def _up_to_now(self) -> list[_Family]:
        return _sums([[_family(metric) for metric in self._own()], self._earlier])

    def _encoded(self) -> bytes:
        return msgspec.msgpack.encode(self._up_to_now())


def _family(metric: Metric) -> _Family:
    samples = [(each.name, tuple(sorted(each.labels.items())), float(each.value)) for each in metric.samples]
    return _Family(metric.name, metric.documentation, metric.type, samples)


def _decoded(content: bytes) -> list[_Family]:
    return msgspec.msgpack.decode(content, type=list[_Family]) if content else []


def _sums(parts: Iterable[list[_Family]]) -> list[_Family]:
    found: dict[str, _Family] = {}
    values: dict[str, dict[tuple[str, _Labels], float]] = {}
    for family in (each for part in parts for each in part):
        found.setdefault(family.name, family)
        known = values.setdefault(family.name, {})
        for name, labels, value in family.samples:
            before = known.get((name, labels))
            if before is None:
                known[name, labels] = value
            else:
                known[name, labels] = min(before, value) if name in _FIRST else before + value
    return [
        _Family(each.name, each.documentation, each.kind, [(*key, value) for key, value in values[each.name].items()])
        for each in found.values()
    ]
