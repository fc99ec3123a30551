"""The size of an answer, counted while it is made."""

from freehold.providers.failures import SqlFailure, megabytes


class Budget:
    """The size that one answer may still grow by."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._left = limit_bytes

    def spend(self, size_bytes: int) -> None:
        """Count a part of the answer.

        Raises:
            SqlFailure: it would be larger than the limit.
        """
        if size_bytes > self._left:
            raise SqlFailure(
                f"the answer would be larger than {megabytes(self._limit_bytes)}; ask for fewer rows at a time",
                "RESPONSE_TOO_LARGE",
            )
        self._left -= size_bytes
