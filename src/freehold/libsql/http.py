"""Runs Hrana batches on a database over HTTP, without blocking."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

import aiohttp
import msgspec

from freehold.errors import (
    Forbidden,
    FreeholdError,
    InvalidInput,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from freehold.libsql.protocol import (
    Batch,
    BatchReq,
    BatchResp,
    BatchResult,
    CloseReq,
    Error,
    PipelineReq,
    PipelineResp,
    StreamError,
    StreamOk,
    StreamReq,
)

TIMEOUT_S = 30.0

_decoder = msgspec.json.Decoder(PipelineResp)
_REFUSALS: dict[int, Callable[[str], FreeholdError]] = {
    HTTPStatus.UNAUTHORIZED: lambda _: Unauthenticated(
        "the database did not accept the token; get a new one"
    ),
    HTTPStatus.FORBIDDEN: lambda _: Forbidden("the token does not allow this on the database"),
    HTTPStatus.NOT_FOUND: lambda _: NotFound("there is no such database"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: lambda _: TooLarge("the request is larger than the database takes"),
    HTTPStatus.BAD_REQUEST: lambda text: InvalidInput(f"the database did not accept the request: {text}"),
}


class HranaTarget:
    """A database at `url`, which ends in `/`. `token` is the token's text, or what gives one when it is needed.

    The session is the caller's, to share and to close.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        token: str | Callable[[], Awaitable[str]],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._session = session
        self._endpoint = f"{url.rstrip('/')}/v3/pipeline"
        self._token = token
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        """Run the batches in order on one connection, in one round trip.

        Raises:
            Unauthenticated, Forbidden, NotFound: the token, or the database, is not (any more) good.
            Unavailable: no answer, or none that can be used; whether it ran is unknown.
        """
        requests: list[StreamReq] = [*(BatchReq(batch) for batch in batches), CloseReq()]
        results = (await self._pipeline(PipelineReq(tuple(requests)))).results
        if len(results) != len(requests):
            raise Unavailable("the database answered to another number of requests than it was sent")
        return [_batch_result(batch, result) for batch, result in zip(batches, results, strict=False)]

    async def _pipeline(self, request: PipelineReq) -> PipelineResp:
        token = self._token if isinstance(self._token, str) else await self._token()
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        body = msgspec.json.encode(request)
        try:
            # A redirect is not followed: it would carry the token to somebody else.
            async with self._session.post(
                self._endpoint, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as reply:
                answer = await reply.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            # Not the error's own text: it may hold the URL.
            raise Unavailable(f"the database does not answer ({type(error).__name__})") from error
        if reply.status != HTTPStatus.OK:
            raise _refusal(reply.status, answer)
        try:
            return _decoder.decode(answer)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"the database's answer is not Hrana: {error}") from error


def _batch_result(batch: Batch, result: StreamOk | StreamError) -> BatchResult:
    if isinstance(result, StreamError):
        # The stream refused the batch as a whole; callers look for errors at the steps.
        skipped = [None] * (len(batch.steps) - 1)
        return BatchResult([None, *skipped], [result.error, *skipped])
    if not isinstance(result.response, BatchResp):
        raise Unavailable("the database answered something else than was asked")
    return result.response.result


def _refusal(status: int, answer: bytes) -> FreeholdError:
    if make := _REFUSALS.get(status):
        return make(_text(answer))
    return Unavailable(f"the database answered with HTTP status {status}; try again")


def _text(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=Error).message[:200]
    except msgspec.MsgspecError:
        return " ".join(answer[:200].decode(errors="replace").split())
