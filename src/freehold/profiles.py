"""The profiles of database tokens: what a token may do, from nothing to everything.

What a piece of SQL needs is `sql/profiles.py`.
"""

from typing import Literal

Profile = Literal["none", "read_only", "rows", "full"]

PROFILES: tuple[Profile, ...] = ("none", "read_only", "rows", "full")

# None is what no profile allows.
RANKS: dict[Profile | None, int] = {**{name: rank for rank, name in enumerate(PROFILES)}, None: len(PROFILES)}


def narrowed(asked: Profile, most: Profile) -> Profile:
    """The narrower of the two."""
    return min(asked, most, key=RANKS.__getitem__)
