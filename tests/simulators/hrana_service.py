"""As much of a Freehold service as an SDK meets around the registry: one user's database, made after a while."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, Response, get, post

from freehold.libsql.conditions import holds
from freehold.libsql.protocol import (
    Batch,
    BatchReq,
    BatchResp,
    BatchResult,
    CloseReq,
    CloseResp,
    Error,
    PipelineReq,
    PipelineResp,
    StmtResult,
    StreamOk,
)
from freehold.libsql.values import decode, encode

SESSION, DATABASE_TOKEN = "session-token", "database-token"


@dataclass
class SqliteTarget:
    """Runs Hrana batches on a SQLite file, a new connection each time."""

    path: Path
    runs: int = 0

    async def run(self, batches: Sequence[Batch]) -> list[BatchResult]:
        self.runs += 1
        db = sqlite3.connect(self.path, isolation_level=None)
        try:
            return [_run(db, batch) for batch in batches]
        finally:
            db.close()


def _run(db: sqlite3.Connection, batch: Batch) -> BatchResult:
    results: list[StmtResult | None] = []
    errors: list[Error | None] = []
    for step in batch.steps:
        result, error = None, None
        if holds(step.condition, results, errors, lambda: not db.in_transaction):
            try:
                rows = db.execute(step.stmt.sql or "", [decode(value) for value in step.stmt.args]).fetchall()
                result = StmtResult(rows=[[encode(value) for value in row] for row in rows])
            except sqlite3.Error as failure:
                error = Error(str(failure), failure.sqlite_errorname)
        results.append(result)
        errors.append(error)
    return BatchResult(results, errors)


@dataclass
class UserDatabase:
    """`GET /databases/user` and the database behind it. `pending` answers of 202 come first."""

    path: Path
    pending: int = 0
    asked: list[str] = field(default_factory=list)

    def routes(self) -> list[Any]:
        @get("/databases/user")
        async def user_database(request: Request[Any, Any, Any]) -> Response[Any]:
            self.asked.append(str(request.url.query))
            if request.headers.get("authorization") != f"Bearer {SESSION}" or "cookie" in request.headers:
                return Response({"code": "unauthenticated", "detail": "sign in first"}, status_code=401)
            if self.pending > 0:
                self.pending -= 1
                return Response({"status": "provisioning"}, status_code=202, headers={"Retry-After": "0"})
            url = f"{request.base_url}db/mine/"
            return Response(
                {
                    "id": "t", "user_id": "u", "db_id": "d", "db_name": "mine", "hostname": "freehold.test",
                    "url": url, "access_token": DATABASE_TOKEN, "access_level": "full",
                    "expires_at": "2026-01-01T00:00:00.000Z", "schema_version": 0, "status": "ready",
                }
            )  # fmt: skip

        @post("/db/mine/v3/pipeline", status_code=200)
        async def pipeline(request: Request[Any, Any, Any]) -> Response[Any]:
            if request.headers.get("authorization") != f"Bearer {DATABASE_TOKEN}":
                return Response({"message": "bad token", "code": "UNAUTHORIZED"}, status_code=401)
            body = msgspec.json.decode(await request.body(), type=PipelineReq)
            assert isinstance(body.requests[-1], CloseReq)
            batches = [each.batch for each in body.requests if isinstance(each, BatchReq)]
            results = await SqliteTarget(self.path).run(batches)
            answers = [StreamOk(BatchResp(result)) for result in results]
            answer = PipelineResp(None, None, [*answers, StreamOk(CloseResp())])
            return Response(msgspec.json.encode(answer), media_type="application/json")

        return [user_database, pipeline]
