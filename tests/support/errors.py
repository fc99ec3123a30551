"""Every error that Freehold raises."""

import importlib
import pkgutil

import freehold
from freehold.errors import FreeholdError


def all_errors() -> set[type[FreeholdError]]:
    """The classes of the whole package, the tests' own left out."""
    for module in pkgutil.walk_packages(freehold.__path__, "freehold."):
        importlib.import_module(module.name)
    found = {FreeholdError}
    queue = [FreeholdError]
    while queue:
        for kind in queue.pop().__subclasses__():
            if kind not in found and kind.__module__.startswith("freehold."):
                found.add(kind)
                queue.append(kind)
    return found
