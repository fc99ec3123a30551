"""Finds variables that look like misspelt settings, which would otherwise be ignored silently."""

from collections.abc import Iterable

# Read elsewhere: by an option of a command, by the compose file, by docs/ci.md.
_OTHERS = frozenset({"SQLD_BINARY", "SQLD_CONTAINER_MEMORY", "BETTER_AUTH_DATABASE_TOKEN", "REGISTRY_KEY"})
# Shorter names are too close to those of other programs: PORT is one letter from SORT, HOST from HOSTS.
_SHORTEST = 7
_SHORTEST_IN_FILE = 4
_LONG = 12
_FARTHEST = 2


def misspelt(names: Iterable[str], known: Iterable[str], *, is_own_file: bool = False) -> list[tuple[str, str]]:
    """The names that are not settings but close to one, each with the closest.

    Close means in another case, a letter or two apart, or without its last words (RATE_LIMIT) or one word
    (TURSO_TOKEN). `is_own_file`: the names are from a `.env`, which holds less for other programs.
    """
    settings = tuple(known)
    everything = {*settings, *_OTHERS}
    return [
        (name, nearest)
        for name in names
        if name not in everything and (nearest := _nearest(name, settings, is_own_file=is_own_file))
    ]


def _nearest(name: str, settings: tuple[str, ...], *, is_own_file: bool) -> str | None:
    wanted = name.upper()
    shortest = _SHORTEST_IN_FILE if is_own_file else _SHORTEST
    if len(wanted) < shortest or len(wanted) > 64:
        return None
    if wanted in settings:
        return wanted
    near = [(_distance(wanted, each), each) for each in settings if len(each) >= shortest]
    distance, nearest = min(near)
    if distance <= (_FARTHEST if len(wanted) >= _LONG else 1):
        return nearest
    words = wanted.split("_")
    if len(wanted) >= _SHORTEST and len(words) > 1:
        return next((each for each in settings if _lacks_words(words, each.split("_"))), None)
    return None


def _lacks_words(words: list[str], whole: list[str]) -> bool:
    """Whether only the end is missing, or a single word that is not the first."""
    if whole[: len(words)] == words:
        return True
    return len(words) == len(whole) - 1 and any(whole[:at] + whole[at + 1 :] == words for at in range(1, len(whole)))


def _distance(one: str, other: str) -> int:
    """The number of letters to insert, delete, replace or swap with their neighbour.

    Stops beyond `_FARTHEST`: each command compares all variables of the environment with all settings.
    """
    # A single change adds or removes at most two of the letters that only one of them has.
    if abs(len(one) - len(other)) > _FARTHEST or len(set(one) ^ set(other)) > 2 * _FARTHEST:
        return _FARTHEST + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        current = [row]
        for column, wanted in enumerate(other, start=1):
            cost = min(last[column] + 1, current[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                cost = min(cost, before[column - 2] + 1)
            current.append(cost)
        if min(current) > _FARTHEST:
            return _FARTHEST + 1
        before, last = last, current
    return last[-1]
