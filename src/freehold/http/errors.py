"""Errors that the framework or a connection finds before our code runs, and the one for our own bugs."""

from freehold.errors import BetterAuth, FreeholdError, InvalidInput


class MethodNotAllowed(InvalidInput):
    """The path does not allow this method."""

    code = "method_not_allowed"
    kind = "wrong method"
    remedy = "Use one that `/schema` lists; at `/db/` POST."


class UnsupportedMediaType(InvalidInput):
    """The body's media type is not supported."""

    code = "unsupported_media_type"
    kind = "wrong type"
    remedy = "Send JSON."
    better_auth = BetterAuth("UNSUPPORTED_MEDIA_TYPE")


class TimedOut(FreeholdError):
    """The request's headers or body arrived too slowly, and the connection was closed."""

    code = "timed_out"
    kind = "timed out"
    remedy = "Use a better connection, or send less at a time."


class OurFault(FreeholdError):
    """An internal error."""

    code = "internal"
    message = "something went wrong on our side; quote `request_id` when you ask"
    remedy = "Quote `request_id` when you ask the operator."
