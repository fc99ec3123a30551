"""How benchmarks say what they found: one line each for people, one JSON object each with `--json`."""

import statistics
import sys
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure beside its floor or peer, measured in turn in the same run.

    `ratio` is the median over the rounds of ours / floor; `at_least` is what it has to reach, if anything. Where the
    interval that the true ratio is in is known, its upper end `high` has to: noise alone is no finding.
    """

    name: str
    unit: str
    ours: float
    floor: float
    ratio: float
    at_least: float | None = None
    low: float | None = None
    high: float | None = None
    beside: str = "floor"

    @property
    def is_enough(self) -> bool:
        return self.at_least is None or (self.ratio if self.high is None else self.high) >= self.at_least


def compare(
    name: str, unit: str, ours: list[float], floor: list[float], at_least: float | None = None, beside: str = "floor"
) -> Finding:
    """Pair the rounds: machines drift, so each round of ours is divided by the floor's of the same round."""
    ratios = [mine / theirs for mine, theirs in zip(ours, floor, strict=True)]
    return Finding(
        name=name,
        unit=unit,
        ours=round(statistics.median(ours), 3),
        floor=round(statistics.median(floor), 3),
        ratio=round(statistics.median(ratios), 3),
        at_least=at_least,
        beside=beside,
    )


def show(finding: Finding, *, as_json: bool) -> None:
    """Print one finding to stdout."""
    if as_json:
        print(msgspec.json.encode(finding).decode())
        return
    wanted = ""
    if finding.at_least is not None:
        wanted = f"  wanted {finding.at_least:.2f}: {'ok' if finding.is_enough else 'TOO LOW'}"
    if finding.low is None or finding.high is None:
        ratio = f"{finding.ratio:.2f}"
    else:
        ratio = f"{finding.ratio:.3f} ({finding.low:.3f} to {finding.high:.3f})"
    digits = 3 if finding.unit == "ms" and finding.ours < 10 else 1
    print(
        f"{finding.name:<44}{finding.ours:>10,.{digits}f} {finding.unit:<4} {finding.beside} "
        f"{finding.floor:>10,.{digits}f}  ratio {ratio}{wanted}"
    )


def note(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)
