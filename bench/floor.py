"""The floor that hot paths are compared with: a bare Litestar handler doing one SQLite lookup, nothing else."""

import sqlite3
import sys

import uvicorn
from litestar import Litestar, get


def create_floor(database: str) -> Litestar:
    """`GET /lookup` reads one session row by its token with `sqlite3`, on the event loop; `GET /nothing` nothing."""
    db = sqlite3.connect(database, isolation_level=None)
    token = db.execute('SELECT token FROM "session" LIMIT 1').fetchone()[0]

    @get("/lookup")
    async def lookup() -> dict[str, str]:
        row = db.execute('SELECT "id", "token", "userId", "expiresAt" FROM "session" WHERE token = ?', (token,))
        session_id, found, user_id, expires_at = row.fetchone()
        return {"id": session_id, "token": found, "userId": user_id, "expiresAt": expires_at}

    @get("/nothing")
    async def nothing() -> dict[str, str]:
        return {}

    return Litestar([lookup, nothing], openapi_config=None, logging_config=None)


if __name__ == "__main__":
    uvicorn.run(create_floor(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
