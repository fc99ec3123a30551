"""What a migration's front matter says about its phase, the apps it needs, and waived rules."""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from freehold.migrate.rules import release_lines
from freehold.migrate.types import Migration

_APP = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}")
_ALLOW = re.compile(r"(?P<rule>FH[0-9]{3})\b[ \t:,-]*(?P<reason>.*)")
PHASES = ("expand", "contract")


class Waiver(Struct, frozen=True):
    """A rule that one migration is exempt from, and why."""

    rule: str
    reason: str


class Release(Struct, frozen=True):
    """`phase` defaults to `expand`; `min_app` is the oldest app that works with the migration, or empty."""

    phase: str = "expand"
    min_app: str = ""
    waivers: tuple[Waiver, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def is_contract(self) -> bool:
        """Return whether it removes something that older apps use."""
        return self.phase == "contract"


def release_of(migration: Migration) -> Release:
    """Parse the lines `-- phase:`, `-- min_app:` and `-- allow:`; `faults` describes invalid lines."""
    said: dict[str, str] = {}
    waivers: list[Waiver] = []
    faults: list[str] = []
    for key, value in release_lines(migration.sql):
        if key == "allow":
            match = _ALLOW.fullmatch(value)
            if match is None or not match["reason"]:
                faults.append("`-- allow:` names a rule and says why, as in `-- allow: FH107 the table is small`")
            else:
                waivers.append(Waiver(match["rule"], match["reason"]))
        elif key in said:
            faults.append(f"`-- {key}:` stands there twice; keep one")
        else:
            said[key] = value
    phase, min_app = said.get("phase", "expand").lower(), said.get("min_app", "")
    faults += _value_faults(phase, said.get("min_app"))
    is_version = app_version(min_app) is not None
    return Release(phase if phase in PHASES else "expand", min_app if is_version else "", tuple(waivers), tuple(faults))


class Contract(Struct, frozen=True):
    """A contract migration; `needs` is `min_app` as comparable numbers."""

    version: int
    min_app: str
    needs: tuple[int, ...]


def contracts(migrations: Sequence[Migration]) -> tuple[Contract, ...]:
    """Return the contract migrations with a valid `min_app`, oldest first."""
    releases = [(one.version, release_of(one)) for one in migrations]
    return tuple(
        Contract(version, release.min_app, needs)
        for version, release in releases
        if release.is_contract and (needs := app_version(release.min_app)) is not None
    )


def app_version(text: str) -> tuple[int, ...] | None:
    """Return `2.10.0` as comparable numbers, without trailing zeros; None if it is not a version."""
    if not _APP.fullmatch(text):
        return None
    numbers = [int(part) for part in text.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def app_order(text: str) -> str:
    """Return a text that sorts in version order; anything that is not a version sorts last."""
    numbers = app_version(text)
    return "~" if numbers is None else ".".join(f"{number:09}" for number in numbers)


def _value_faults(phase: str, min_app: str | None) -> Iterator[str]:
    if phase not in PHASES:
        yield f"`-- phase:` is `expand` or `contract`, not `{phase[:40]}`"
    if min_app is not None and app_version(min_app) is None:
        yield f"`-- min_app:` is a version like 2.1.0, not `{min_app[:40]}`"
    if phase == "contract" and min_app is None:
        yield "a contract migration says which app it needs at least: add the line `-- min_app: 2.1.0`"
