"""What the framework or a connection refuses before any of our code has the request, and what it says of our bugs."""

from freehold.errors import BetterAuth, FreeholdError, InvalidInput


class MethodNotAllowed(InvalidInput):
    """The path is served for other methods only."""

    code = "method_not_allowed"
    kind = "wrong method"
    remedy = "Use one that `/schema` lists; at `/db/` POST."


class UnsupportedMediaType(InvalidInput):
    """The body is of a type that is not taken."""

    code = "unsupported_media_type"
    kind = "wrong type"
    remedy = "Send JSON."
    better_auth = BetterAuth("UNSUPPORTED_MEDIA_TYPE")


class TimedOut(FreeholdError):
    """The head or the body of the request came too slowly, and the connection is closed."""

    code = "timed_out"
    kind = "timed out"
    remedy = "Send it on a better connection, or less at a time."


class OurFault(FreeholdError):
    """A fault on our side."""

    code = "internal"
    message = "something went wrong on our side; quote `request_id` when you ask"
    remedy = "Quote `request_id` when you ask the operator."
