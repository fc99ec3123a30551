"""Errors outside `/api/auth` as RFC 9457 problem details. The only file that knows both our errors and HTTP."""

import re
from collections.abc import Sequence
from enum import Enum
from http import HTTPStatus
from traceback import walk_tb
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler

from freehold import errors
from freehold.errors import FreeholdError, Kind
from freehold.http.errors import MethodNotAllowed, OurFault, TimedOut, UnsupportedMediaType
from freehold.http.headers import Asked
from freehold.http.page_origins import hint_for_refusal
from freehold.log import get_logger
from freehold.providers.failures import Overloaded
from freehold.settings.load import one_of
from freehold.tenants.errors import DatabaseSuspended

log = get_logger()

STATUS: dict[Kind, int] = {
    "invalid": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not found": 404,
    "wrong method": 405,
    "timed out": 408,
    "conflict": 409,
    "gone": 410,
    "too large": 413,
    "wrong type": 415,
    "taken": 422,
    "outdated": 426,
    "too many": 429,
    "internal": 500,
    "unavailable": 503,
}


def status_of(error: FreeholdError | type[FreeholdError]) -> int:
    return STATUS[error.kind]


# Codes for what the framework or the connection finds before our code runs.
FRAMEWORK_CODES: dict[int, str] = {
    **{
        status_of(kind): kind.code
        for kind in (
            errors.InvalidInput,
            errors.Unauthenticated,
            errors.Forbidden,
            errors.NotFound,
            MethodNotAllowed,
            TimedOut,
            errors.TooLarge,
            UnsupportedMediaType,
            OurFault,
            errors.Unavailable,
        )
    },
    429: Overloaded.code,
    431: errors.TooLarge.code,
}

# The framework's own details are bare titles.
_DETAILS: dict[int, str] = {
    404: "there is nothing at this path; /schema lists what there is",
    405: "method not allowed for this path",
}
# The framework's message if the client disconnects before its body is complete; it counts that as a server error.
CLIENT_LEFT = "client disconnected prematurely"

RETRY_AFTER_S = 2
# The start of the decoder's message for a value that is not among the choices.
_NOT_A_CHOICE = "Invalid enum value "


def problem(
    request: Asked, status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Response[bytes]:
    """One problem document. `code` is for programs, `detail` for people."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        **more,
    }
    if status >= 500 and (request_id := request.scope.get("freehold_request_id")):
        body["request_id"] = request_id
    return Response(
        msgspec.json.encode(body), status_code=status, media_type="application/problem+json", headers=headers
    )


def from_domain(request: Asked, error: FreeholdError) -> Response[bytes]:
    """The response to one of our errors: what happened and what to do, never the cause."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
        log.warning("request.unavailable", code=error.code, reason=str(error), cause=repr(error.__cause__))
    if status == 429:
        headers["Retry-After"] = str(getattr(error, "retry_after_s", RETRY_AFTER_S))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 500:
        return from_bug(request, error)
    faults = getattr(error, "faults", None)
    more: dict[str, Any] = {"faults": list(faults)} if faults else {}
    detail = str(error)
    if status == 401 and (hint := hint_for_refusal(request.scope)):
        detail = f"{detail}: {hint}"
    if isinstance(error, DatabaseSuspended) and error.reason:
        more["reason"] = error.reason
    return problem(request, status, error.code, detail, headers=headers, **more)


def from_framework(request: Asked, error: HTTPException) -> Response[bytes]:
    """The response to what Litestar found wrong with a request."""
    status = error.status_code
    if error.detail == CLIENT_LEFT:
        return problem(request, 400, "invalid_input", "the connection ended before the body did")
    if status >= 500:
        return from_bug(request, error)
    more: dict[str, Any] = {}
    detail = _DETAILS.get(status, error.detail)
    if isinstance(error, ValidationException):
        detail = "the request does not have the expected form; see `faults`"
        more["faults"] = [_fault(request, fault) for fault in error.extra or [] if isinstance(fault, dict)]
    code = FRAMEWORK_CODES.get(status, "invalid_input")
    return problem(request, status, code, detail, headers=dict(error.headers or {}), **more)


def _fault(request: Asked, fault: dict[str, Any]) -> str:
    key, message = str(fault.get("key", "")), str(fault.get("message", "invalid"))
    if not key:
        return f"body: {message}"
    source = str(fault.get("source", ""))
    if message.startswith(_NOT_A_CHOICE) and (found := choices_at(request.route_handler, key, source)):
        message = f"expected {one_of(found)}, got {message.removeprefix(_NOT_A_CHOICE)}"
    return f"{key if source == 'body' else name_of(request.route_handler, key)}: {message}"


def from_recursion(request: Asked, error: RecursionError) -> Response[bytes]:
    """JSON nested too deeply for the decoder is the sender's fault; any other recursion is ours."""
    if "deserializing" not in str(error):
        return from_bug(request, error)
    return problem(request, 400, "invalid_input", "the body is nested too deeply")


def from_bad_utf8(request: Asked, error: UnicodeDecodeError) -> Response[bytes]:
    """A JSON body that is not UTF-8, for which the decoder has no error of its own; any other bad UTF-8 is a bug."""
    if not any(frame.f_code.co_name == "decode_json" for frame, _ in walk_tb(error.__traceback__)):
        return from_bug(request, error)
    return problem(request, 400, "invalid_input", "the body is not valid UTF-8")


def from_bug(request: Asked, error: Exception) -> Response[bytes]:
    """Anything unexpected: logged in full; the response has only the request's id."""
    log.error("request.failed", path=request.url.path, exc_info=error)
    return problem(request, 500, OurFault.code, OurFault.message)


EXCEPTION_HANDLERS: dict[type[Exception] | int, Any] = {
    FreeholdError: from_domain,
    HTTPException: from_framework,
    RecursionError: from_recursion,
    UnicodeDecodeError: from_bad_utf8,
    Exception: from_bug,
}


# The choices for a value that is not among them: the decoder's message has only the value.

_STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")
_MAX_STEPS = 20


def name_of(handler: BaseRouteHandler, key: str) -> str:
    """The name by which clients send this parameter of the handler."""
    field = handler.signature_model._fields.get(key)
    return getattr(field and field.kwarg_definition, "name", None) or key


def choices_at(handler: BaseRouteHandler, key: str, source: str) -> Sequence[str]:
    """The choices for a parameter, or for a path such as `filters[1].operator` in the body; empty if there are none."""
    fields = handler.signature_model._fields
    steps = _STEP.findall(key)[:_MAX_STEPS]
    parameter = "data" if source == "body" else steps.pop(0) if steps else ""
    field = fields.get(parameter)
    return () if field is None else _choices(field.annotation, steps)


def _choices(kind: Any, steps: Sequence[str]) -> Sequence[str]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _choices(arguments[0], steps)
    if origin in {Union, UnionType}:
        return [choice for each in arguments for choice in _choices(each, steps)]
    if steps:
        inner = _inside(kind, steps[0])
        return () if inner is None else _choices(inner, steps[1:])
    if origin is Literal:
        return [str(choice) for choice in arguments]
    is_enum = isinstance(kind, type) and issubclass(kind, Enum)
    return [str(each.value) for each in kind] if is_enum else ()


def _inside(kind: Any, step: str) -> Any:
    """The type of a field, of a list's items or of a mapping's values; None if there is none."""
    arguments = get_args(kind)
    if step.startswith("["):
        return arguments[-1 if get_origin(kind) is dict else 0] if arguments else None
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return None
    names = {field.encode_name: field.name for field in msgspec.structs.fields(kind)}
    return get_type_hints(kind, include_extras=True).get(names.get(step, ""))
