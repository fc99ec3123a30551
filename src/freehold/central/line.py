"""Who writes to the central database next. For the event loop's thread."""

import asyncio

from freehold.waiting import WaitingLine


class Line(WaitingLine):
    """One at a time, in the order of asking."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(1)

    async def enter(self, *, ahead: bool = False) -> None:
        """Wait for one's turn, which ends with `leave`; `ahead` of all who wait, or after them."""
        if not self._is_let_in():
            await self._wait(asyncio.get_running_loop().create_future(), ahead=ahead)
