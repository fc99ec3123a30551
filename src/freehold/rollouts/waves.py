"""How many tenants each wave has."""

from collections.abc import Sequence

from freehold.rollouts.errors import BadRollout


def wave_ends(waves: Sequence[str], canaries: int, tenants: int) -> tuple[int, ...]:
    """Return the tenants in all after each wave, of which canaries are the first. Raises `BadRollout` as `amount`."""
    if tenants == 0:
        return ()
    ends = {min(canaries, tenants), *(min(amount(wave, tenants), tenants) for wave in waves), tenants}
    return tuple(sorted(end for end in ends if end >= max(canaries, 1)))


def amount(text: str, tenants: int) -> int:
    """Return `12` or `5%` of this many tenants, rounded up. Raises `BadRollout`."""
    number = text.strip().removesuffix("%")
    if not (number.isascii() and number.isdigit()) or len(number) > 9:
        raise BadRollout(f"`{text[:20]}` is neither a number of tenants nor a percentage such as 10%")
    if not text.strip().endswith("%"):
        return int(number)
    if int(number) > 100:
        raise BadRollout(f"`{text[:20]}` is more than all tenants")
    return -(-tenants * int(number) // 100)
