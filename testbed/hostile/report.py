"""What came of a campaign: what bystanders met, what attacks ended in, and what is left of it."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from testbed.hostile.attacks import all_attacks
from testbed.hostile.bystanders import NEED_TENANTS, Done
from testbed.hostile.served import MAX_SIZE_MB

HOSTILE = 20
# While there is no sqld, whoever needs a database of a tenant may be refused, and so long after it is back: its
# connections and databases are opened again. What needs none goes on, as the central database is apart.
EXCUSED_AFTER_S = 3.0
# What processes may keep: caches that are bounded, not what anybody sent. Of the service 55 to 65 MB were reached.
_KEPT_MB = 150.0
_KEPT_FILES = 100
# sqld keeps a few connections open to each database, also to those that were made meanwhile, and its allocator pieces
# between those that are in use: 120 to 190 MB and 90 to 215 files more.
_KEPT_BY_SQLD_MB = 150.0
_KEPT_BY_SQLD_FILES = 10 * HOSTILE
KEPT_CORES = 0.35
_KEPT_DISK_MB = 3 * MAX_SIZE_MB * HOSTILE + 150


@dataclass(frozen=True)
class Use:
    """What the service takes of the machine, with all processes that it started."""

    memory_mb: float
    files: int
    disk_mb: float


@dataclass
class Report:
    """What happened. `outcomes` has, for each attack, how often it ended how; `ends` are why sqld ended."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    done: list[Done] = field(default_factory=list)
    asked_again: list[tuple[float, str]] = field(default_factory=list)
    excused: list[tuple[float, float]] = field(default_factory=list)  # when there was no sqld
    killed: int = 0
    restarted: int = 0
    ends: list[str] = field(default_factory=list)
    before: Use | None = None
    after: Use | None = None
    cores_after: float = 0.0
    gone: list[str] = field(default_factory=list)  # what is wrong with guests who have not come back
    has_sqld: bool = False

    @property
    def faults(self) -> list[str]:
        """What bystanders met that nothing excuses, also if it went well when they asked again."""
        refused = [
            f"{each.what} after {each.seconds:.1f} s: {each.fault}"
            for each in self.done
            if each.fault and not self._is_excused(each)
        ]
        return refused + [
            f"told to come again: {text}" for at, text in self.asked_again if not self._is_without_sqld(at, at)
        ]

    @property
    def successes(self) -> list[str]:
        """Attacks that ended as none may."""
        return [
            f"{attack.name}: {count} times {outcome}"
            for attack in all_attacks()
            for outcome, count in self.outcomes.get(attack.name, Counter()).items()
            if outcome in attack.never
        ]

    @property
    def untried(self) -> list[str]:
        """Attacks that nobody came to, or of which nobody saw the end."""
        return [each.name for each in all_attacks() if not each.is_tried(self.outcomes.get(each.name, Counter()))]

    @property
    def left(self) -> list[str]:
        """What did not go back to where it was."""
        assert self.before is not None
        assert self.after is not None
        found = list(self.gone)
        if self.cores_after > KEPT_CORES:
            found.append(f"{self.cores_after:.2f} cores at work")
        memory_mb = _KEPT_MB + (_KEPT_BY_SQLD_MB if self.has_sqld else 0)
        files = _KEPT_FILES + (_KEPT_BY_SQLD_FILES if self.has_sqld else 0)
        for name, kept in (("memory_mb", memory_mb), ("files", files), ("disk_mb", _KEPT_DISK_MB)):
            before, after = getattr(self.before, name), getattr(self.after, name)
            if after > before + kept:
                found.append(f"{name} {after:.0f}, and it was {before:.0f}")
        return found

    def times(self, what: str = "") -> list[float]:
        """How long it took whenever it worked, in order."""
        return sorted(each.seconds for each in self.done if not each.fault and what in each.what)

    def _is_excused(self, each: Done) -> bool:
        return each.what in NEED_TENANTS and self._is_without_sqld(each.at, each.at + each.seconds)

    def _is_without_sqld(self, since: float, until: float) -> bool:
        """Whether there was no sqld, or it had just come back, within this time."""
        return any(since <= to + EXCUSED_AFTER_S and until >= gone for gone, to in self.excused)


def told(report: Report) -> dict[str, Any]:
    """What a person wants to know."""
    return {
        "faults": report.faults[:20],
        "successes": report.successes,
        "untried": report.untried,
        "left": report.left,
        "killed": report.killed,
        "restarted": report.restarted,
        "ends": report.ends,
        "asked_again": Counter(text[:120] for _, text in report.asked_again),
        "excused": len([each for each in report.done if each.fault]) - len(report.faults),
        "bystanders": {
            what: {
                "times": len(report.times(what)),
                "longest_s": round(report.times(what)[-1], 2) if report.times(what) else None,
            }
            for what in sorted({each.what for each in report.done})
        },
        "before": report.before,
        "after": report.after,
        "cores_after": round(report.cores_after, 2),
        "outcomes": report.outcomes,
    }
