"""The user's own database as a target for migrations, over Hrana. For reading and writing use a libSQL client."""

from collections.abc import Sequence
from dataclasses import dataclass

from freehold.client.calls import Calls
from freehold.errors import Unavailable
from freehold.libsql.protocol import (
    Batch,
    BatchReq,
    BatchResp,
    BatchResult,
    CloseReq,
    PipelineReq,
    PipelineResp,
    StreamOk,
    StreamReq,
)


@dataclass(frozen=True, slots=True, repr=False)
class RemoteDatabase:
    """Implements `migrate.target.Target` for the database at `calls.service`."""

    calls: Calls
    token: str

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        requests: list[StreamReq] = [BatchReq(batch) for batch in batches]
        # Closing the stream rolls back whatever is open.
        body = PipelineReq((*requests, CloseReq()))
        reply = await self.calls.send("POST", "/v3/pipeline", token=self.token, body=body)
        answer = self.calls.read(reply, PipelineResp)
        results = []
        for part in answer.results[: len(batches)]:
            if not isinstance(part, StreamOk):
                raise Unavailable(f"the database stopped half-way ({part.error.message}); try again")
            if isinstance(part.response, BatchResp):
                results.append(part.response.result)
        if len(results) != len(batches):
            raise Unavailable("the database's answer is incomplete; try again")
        return results


def database_url(url: str) -> str:
    """The HTTP URL behind a database URL, which may start with `libsql://`."""
    return "https://" + url.removeprefix("libsql://") if url.startswith("libsql://") else url
