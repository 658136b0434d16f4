"""Frozen dataclasses to JSON and back, checked: files from strangers name no classes."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from diorama.errors import InputError

T = TypeVar("T")


def to_json(config: Any) -> Any:
    """A dataclass as plain dictionaries, lists and numbers."""
    return dataclasses.asdict(config)


def from_json(kind: type[T], data: Mapping[str, Any]) -> T:
    """The dataclass `kind` from plain dictionaries; unknown keys and wrong types are refused, missing keys default."""
    hints = typing.get_type_hints(kind)
    unknown = set(data) - set(hints)
    if unknown:
        raise InputError(f"{kind.__name__} has no settings {sorted(unknown)}; the file is of another version.")
    return kind(**{name: _value(hints[name], value, f"{kind.__name__}.{name}") for name, value in data.items()})


def changed(config: T, changes: Mapping[str, Any]) -> T:
    """A dataclass with some of its settings changed, at any depth; InputError for names and values that cannot be.

    Settings of a part are changed one by one if they are that part's; else they are another kind of part, whole.
    """
    hints, new = typing.get_type_hints(type(config)), {}
    for name, value in changes.items():
        if name not in hints:
            raise InputError(f"{type(config).__name__} has no setting {name!r}; it has {sorted(hints)}.")
        now = getattr(config, name)
        parts = {part.name for part in dataclasses.fields(now)} if dataclasses.is_dataclass(now) else set[str]()
        if value and isinstance(value, Mapping) and set(value) <= parts:
            new[name] = changed(now, value)
        else:
            new[name] = _value(hints[name], value, f"{type(config).__name__}.{name}")
    return dataclasses.replace(config, **new)  # type: ignore[type-var]


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return from_json(hint, value)  # type: ignore[arg-type]
    elif origin in (typing.Union, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        return _first_that_fits([one for one in typing.get_args(hint) if one is not type(None)], value, where)
    elif origin is typing.Literal:
        if value in typing.get_args(hint):
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            inner = typing.get_args(hint)[0]
            return tuple(_value(inner, item, where) for item in value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and isinstance(value, hint):
        return value
    raise InputError(f"{where} cannot be {value!r}; {hint} is needed. The file is damaged or of another version.")


def _first_that_fits(options: list[Any], value: Any, where: str) -> Any:
    """The value as the first option of a union that takes it: complete settings of a dataclass fit no other one."""
    refused = []
    for option in options:
        try:
            return _value(option, value, where)
        except InputError as error:
            refused.append(error)
    if len(refused) == 1:
        raise refused[0]
    raise InputError(f"{where} is none of what it may be. " + " ".join(str(error) for error in refused))
