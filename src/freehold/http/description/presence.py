"""Which members of a body have to be sent, and which are always there: schemas tell neither by their defaults.

A member with a default may be left out of a request, and is there in every answer whose struct does not leave out
what is as by default. Generators take a default for either, each in its own way, so none stays.
"""

import re
from collections.abc import Iterator

import msgspec

from freehold.http.description.refusals import Described

_REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')


def with_presence(schemas: Described, paths: Described) -> Described:
    """The schemas without defaults; what an answer always has is required."""
    sent = _reachable(schemas, list(_bodies(paths)))
    sparse = {kind.__name__ for kind in _structs(msgspec.Struct) if kind.__struct_config__.omit_defaults}
    return {name: _plain(schema, is_whole=name not in sent | sparse) for name, schema in schemas.items()}


def _plain(schema: Described, *, is_whole: bool) -> Described:
    members = schema.get("properties", {})
    usual = [name for name, member in members.items() if "default" in member]
    if not usual:
        return schema
    required = [*schema.get("required", ()), *(usual if is_whole else ())]
    plain = {
        name: {key: value for key, value in member.items() if key != "default"}
        for name, member in members.items()
    }
    return {**schema, "properties": plain, "required": [name for name in members if name in required]}


def _bodies(paths: Described) -> Iterator[Described]:
    for item in paths.values():
        for operation in item.values():
            if isinstance(operation, dict) and "requestBody" in operation:
                yield operation["requestBody"]


def _reachable(schemas: Described, start: list[Described]) -> set[str]:
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        for name in _REFERENCE.findall(msgspec.json.encode(waiting.pop()).decode()):
            if name not in found:
                found.add(name)
                waiting.append(schemas[name])
    return found


def _structs(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for each in kind.__subclasses__():
        yield each
        yield from _structs(each)
