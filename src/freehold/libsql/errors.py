"""The errors that the driver raises. They are not the service's: adapters translate them where they catch them."""


class LibsqlError(RuntimeError):
    """The database refused or failed. `code` is the server's error code, `explanation` its message.

    The shape is libsql-client's, so that code written for it keeps working. `retry_after` is the number of seconds
    after which the server said to retry, if it did.
    """

    retry_after: float | None = None

    def __init__(self, message: str, code: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.explanation = message

    def __reduce__(self) -> tuple[type["LibsqlError"], tuple[str, str]]:
        return type(self), (self.explanation, self.code)


class Unreachable(LibsqlError):
    """No answer, or none that is usable."""

    # Whether the server may have carried out the request; false only when nothing was sent.
    maybe_applied = True

    @classmethod
    def before_sending(cls, message: str, code: str) -> "Unreachable":
        """The error for a request that was never sent, so it is safe to repeat."""
        error = cls(message, code)
        error.maybe_applied = False
        return error


class Refused(LibsqlError):
    """The server refused the whole request with an HTTP status; no part of it ran."""

    status = 0

    @classmethod
    def with_status(cls, status: int, message: str, code: str) -> "Refused":
        """A refusal that remembers its HTTP status."""
        error = cls(message, code)
        error.status = status
        return error


class StreamLost(Refused):
    """The server no longer has this stream; a transaction open on it has been rolled back."""
