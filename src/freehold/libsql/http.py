"""Runs Hrana batches on a database over HTTP, for callers that need whole batches only, such as the migration core."""

from collections.abc import Callable, Sequence
from http import HTTPStatus

import aiohttp
import msgspec

from freehold.errors import Forbidden, FreeholdError, InvalidInput, NotFound, TooLarge, Unauthenticated, Unavailable
from freehold.libsql.bearer import Token
from freehold.libsql.endpoint import TIMEOUT_S, Endpoint
from freehold.libsql.errors import LibsqlError, Refused
from freehold.libsql.protocol import (
    Batch,
    BatchReq,
    BatchResp,
    BatchResult,
    CloseReq,
    PipelineReq,
    PipelineResp,
    StreamError,
    StreamOk,
    StreamReq,
)

_decoder = msgspec.json.Decoder(PipelineResp)
_REFUSALS: dict[int, Callable[[str], FreeholdError]] = {
    HTTPStatus.UNAUTHORIZED: lambda _: Unauthenticated("the database did not accept the token; get a new one"),
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: lambda _: NotFound("there is no such database"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: lambda _: TooLarge("the request is larger than the database takes"),
    HTTPStatus.BAD_REQUEST: lambda text: InvalidInput(f"the database did not accept the request: {text}"),
}


class HranaTarget:
    """A database at `url`. `token` is the token's text, or a function that is called for one at each request.

    `namespace` and `missing_grace_s` are those of `Endpoint`. The session is the caller's, to share and to close.
    Nothing is sent twice: retrying is the decision of the caller that applies migrations.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        token: Token,
        *,
        namespace: str | None = None,
        timeout_s: float = TIMEOUT_S,
        missing_grace_s: float = 0.0,
    ) -> None:
        self._endpoint = Endpoint(
            f"{url.rstrip('/')}/",
            token,
            namespace=namespace,
            session=session,
            timeout_s=timeout_s,
            missing_grace_s=missing_grace_s,
            retry_delays_s=(),
            keep_token=False,
        )

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches in order on one connection, in one round trip.

        Raises:
            Unauthenticated, Forbidden, NotFound: the token or the database is not, or no longer, valid.
            Unavailable: no answer, or none that is usable; whether it ran is unknown.
        """
        requests: list[StreamReq] = [*(BatchReq(batch) for batch in batches), CloseReq()]
        body = msgspec.json.encode(PipelineReq(tuple(requests)))
        try:
            answer = await self._endpoint.post(lambda _: body)
        except LibsqlError as error:
            raise _in_our_words(error) from error
        return batch_results(batches, answer)


def batch_results(batches: Sequence[Batch], answer: bytes) -> list[BatchResult]:
    """The results of a pipeline of these batches and a `close`.

    Raises:
        Unavailable: the answer is not usable; whether the batches ran is unknown.
    """
    try:
        results = _decoder.decode(answer).results
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unavailable(f"the database's answer is not Hrana: {error}") from error
    if len(results) != len(batches) + 1:
        raise Unavailable("the database answered to another number of requests than it was sent")
    return [_batch_result(batch, result) for batch, result in zip(batches, results, strict=False)]


def _batch_result(batch: Batch, result: StreamOk | StreamError) -> BatchResult:
    if isinstance(result, StreamError):
        # The stream refused the batch as a whole; callers look for errors in the steps.
        skipped = [None] * (len(batch.steps) - 1)
        return BatchResult([None, *skipped], [result.error, *skipped])
    if not isinstance(result.response, BatchResp):
        raise Unavailable("the database answered something else than was asked")
    return result.response.result


def _in_our_words(error: LibsqlError) -> FreeholdError:
    status = error.status if isinstance(error, Refused) else 0
    if make := _REFUSALS.get(status):
        return make(error.explanation)
    unavailable = Unavailable(f"{error.explanation}; try again" if status else error.explanation)
    unavailable.retry_after = error.retry_after
    return unavailable
