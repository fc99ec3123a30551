"""How the Platform API refuses: `{"error": text}`, with Turso's messages and statuses."""

from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from freehold.errors import FreeholdError
from freehold.log import get_logger

log = get_logger()


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


def database_missing(name: str) -> Refusal:
    return Refusal(404, f"could not find database with name [{name}]: record not found")


def database_exists(name: str) -> Refusal:
    return Refusal(409, f"database with name [{name}] already exists")


def group_missing(status: int = 404) -> Refusal:
    """404 if the path names the group, 400 if a body does."""
    return Refusal(status, "group not found")


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    """Any error in the form that clients expect."""
    match error:
        case Refusal():
            return Response({"error": error.text}, status_code=error.status, headers=error.headers)
        case HTTPException():
            text = error.detail if error.status_code == 400 else error.detail.lower()
            return Response({"error": text}, status_code=error.status_code)
        case FreeholdError():
            log.warning("twin.engine_failed", path=request.url.path, reason=str(error))
    if not isinstance(error, FreeholdError):
        log.error("twin.failed", path=request.url.path, exc_info=error)
    return Response({"error": "internal server error"}, status_code=500)
