"""What a request may choose from, where it chose something else: the decoder names only what it got."""

import re
from collections.abc import Sequence
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from litestar.handlers import BaseRouteHandler

_STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")
_MAX_STEPS = 20


def name_of(handler: BaseRouteHandler, key: str) -> str:
    """The name under which clients send this parameter of the handler."""
    field = handler.signature_model._fields.get(key)
    return getattr(field and field.kwarg_definition, "name", None) or key


def choices_at(handler: BaseRouteHandler, key: str, source: str) -> Sequence[str]:
    """What may stand at this place of a request: a parameter, or a path such as `filters[1].operator` in the body.

    Empty if it is no choice.
    """
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
