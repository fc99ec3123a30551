"""Whether a database was as good as full before a migration that found no room in it: its user's doing."""

from freehold.errors import FreeholdError
from freehold.migrate.fingerprint import ask
from freehold.migrate.target import Target

# A migration may well need as much room again as there is data; no user may stop a release by taking it.
_FULL = 0.5


async def fullness(target: Target) -> str | None:
    """How much of its room is taken, in words, if that is half or more; None if it is less, or nobody tells."""
    try:
        [[[pages]], [[unused]], [[most]]] = await ask(
            target, "PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA max_page_count"
        )
        share = (int(str(pages)) - int(str(unused))) / int(str(most))
    except (FreeholdError, ValueError, ZeroDivisionError):
        return None
    return f"{share:.0%} of the room for it is taken" if share >= _FULL else None
