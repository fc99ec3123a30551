"""Rules about how migrations follow each other to the apps: phases and waivers."""

from collections.abc import Iterator

from freehold.registry.lint.findings import Problem, Rule
from freehold.registry.lint.step import Step
from freehold.registry.release import release_of


def _front_matter(step: Step) -> Iterator[Problem]:
    for fault in step.release.faults:
        yield Problem(fault)


FRONT_MATTER = Rule(
    code="FH111",
    slug="release-lines",
    why="A line at the top that says how the migration is released (`-- phase:`, `-- min_app:`, `-- allow:`) "
    "cannot be understood, so it would protect nobody.",
    fix="`-- phase: expand` or `contract`; `-- min_app: 2.1.0`, needed for `contract`; `-- allow: FH107 and why`.",
    check=_front_matter,
)


def _too_early(step: Step) -> Iterator[Problem]:
    if not step.release.is_contract:
        return
    expands = [one for one in step.earlier if not release_of(one).is_contract]
    if not expands:
        yield Problem("nothing was expanded before it that it could complete")
    elif step.batch and all(one.version in step.batch for one in expands[-1:]):
        yield Problem(
            f"it is released together with version {expands[-1].version}, before that is everywhere"
        )


CONTRACT_TOO_EARLY = Rule(
    code="FH112",
    slug="contract-too-early",
    why="A contract migration takes away what older apps use. It is safe only when the expand before it is in "
    "every database and the apps that use the new form are in the field. Both in one release leave no time for "
    "either. (`registry publish` asks the census of live apps once more.)",
    fix="Release the expand first; add the contract when `freehold registry status` shows no app below `min_app`.",
    check=_too_early,
)

RELEASE_RULES = (FRONT_MATTER, CONTRACT_TOO_EARLY)

WAIVER = Rule(
    code="FH113",
    slug="waiver",
    severity="warning",
    why="A waiver names a rule that there is not, or that found nothing here: it would hide the next real finding.",
    fix="Remove it.",
)
