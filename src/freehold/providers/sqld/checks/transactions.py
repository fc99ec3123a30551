"""Limits how long a transaction may last on sqld, idle or kept alive: while it reads, the log cannot be checkpointed.

sqld's answers do not say whether a stream is in a transaction. So a stream that has been open for half of the limit is
asked, and again from then on; for one that is in no transaction the time starts again.
"""

import asyncio
import time
from collections.abc import Callable

import msgspec

from freehold.errors import ProviderUnavailable
from freehold.libsql.protocol import GetAutocommitReq, PipelineReq
from freehold.providers.failures import StreamExpired
from freehold.providers.sqld.client.namespaces import Namespaces
from freehold.providers.sqld.client.refusals import refusal

TRANSACTION_S = 30.0
_ASK_S = 5.0


class _State(msgspec.Struct):
    is_autocommit: bool


class _Result(msgspec.Struct):
    response: _State


class _Answer(msgspec.Struct):
    baton: str
    results: tuple[_Result]


class Transactions:
    """Ends transactions that have lasted for `limit_s`."""

    def __init__(self, namespaces: Namespaces, limit_s: float, *, now: Callable[[], float] = time.time) -> None:
        self._namespaces = namespaces
        self._limit_s = limit_s
        self._now = now

    async def bounded(self, database_name: str, baton: str, since: float) -> tuple[str, float]:
        """The baton to continue with, and since when its stream may be in a transaction.

        Raises:
            StreamExpired: it was in one for too long, which is rolled back.
            FreeholdError: the stream cannot be asked.
        """
        lasted_s = self._now() - since
        if lasted_s < self._limit_s / 2:
            return baton, since
        state = await self._ask(database_name, baton)
        if state.results[0].response.is_autocommit:
            return state.baton, self._now()
        if lasted_s < self._limit_s:
            return state.baton, since
        await self._namespaces.end_stream(database_name, state.baton)
        raise too_long(self._limit_s)

    async def _ask(self, database_name: str, baton: str) -> _Answer:
        place = await self._namespaces.place(database_name, baton)
        place.keep_unseen()
        body = msgspec.json.encode(PipelineReq((GetAutocommitReq(),), baton))
        try:
            async with asyncio.timeout(_ASK_S):
                answer = await self._namespaces.post(database_name, "full", "/v3/pipeline", body, place=place)
                text = await answer.read()
            if answer.status != 200:
                place.keep(None)
                raise refusal(answer.status, text)
            state = msgspec.json.decode(text, type=_Answer)
            place.keep(state.baton)
            return state
        except TimeoutError as error:
            raise ProviderUnavailable("sqld did not answer in time; nothing was run") from error
        except msgspec.MsgspecError as error:
            raise ProviderUnavailable("sqld does not tell whether a transaction is open") from error
        finally:
            place.leave()


def too_long(limit_s: float) -> StreamExpired:
    """The error for a transaction that lasted too long."""
    return StreamExpired(f"the transaction lasted longer than {limit_s:g} s; it is rolled back, begin again")
