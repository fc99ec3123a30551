"""A router that one application has for itself."""

from typing import Any, Self

from litestar import Router


class SingleRouter(Router):
    """A router that is made for one application and registered once.

    The framework deep-copies each router that it registers, as it may be registered again elsewhere: a quarter of the
    time that the application takes to be made.
    """

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self
