"""Copies of a machine, and what makes two copies the same state, whatever attributes the machine has.

Machines are objects with dictionaries of objects inside. What can change is copied; what cannot (bytes, tuples, frozen
dataclasses, functions) is shared. Two states are the same when everything that can change is equal; the order in which
a dictionary was filled does not count, because nothing that the machines do depends on it before eight runs wait.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Hashable
from dataclasses import is_dataclass
from functools import cache
from typing import Any

_PLAIN = (bytes, str, int, float, bool, type(None), tuple, frozenset)
_ATOMS = frozenset(_PLAIN)
_CODE = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type)
_UNCHANGING = (*_PLAIN, *_CODE)


@cache
def _frozen_kind(kind: type) -> bool:
    return is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


def _frozen(value: Any) -> bool:
    return _frozen_kind(type(value))


@cache
def _names(kind: type, own: tuple[str, ...]) -> list[str]:
    return sorted({name for of in kind.__mro__ for name in getattr(of, "__slots__", ())}.union(own))


def _attributes(value: Any) -> list[str]:
    return _names(type(value), tuple(getattr(value, "__dict__", ())))


def fork(value: Any, seen: dict[int, Any] | None = None) -> Any:
    """A copy that changes independently; what refers to one object twice does so in the copy."""
    if type(value) in _ATOMS or isinstance(value, _UNCHANGING) or _frozen(value) or getattr(value, "shared", False):
        return value
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, dict):
        made = seen[id(value)] = {key: fork(item, seen) for key, item in value.items()}
    elif isinstance(value, (list, deque, set)):
        made = seen[id(value)] = value.copy()
        if not isinstance(value, set):
            for at, item in enumerate(value):
                made[at] = fork(item, seen)
    else:
        made = seen[id(value)] = object.__new__(type(value))
        for name in _attributes(value):
            object.__setattr__(made, name, fork(getattr(value, name), seen))
    return made


def state(value: Any) -> Hashable:
    """Equal for two copies that are in the same state. What a tuple holds does not change, as for `fork`."""
    if type(value) in _ATOMS or isinstance(value, _PLAIN):
        return value
    if isinstance(value, _CODE) or getattr(value, "shared", False):
        return id(value)
    if isinstance(value, dict):
        return frozenset((state(key), state(item)) for key, item in value.items())
    if isinstance(value, set):
        return frozenset(map(state, value))
    if isinstance(value, (list, deque)):
        return tuple(map(state, value))
    if _frozen(value):
        # Compared by its class's own equality where it can be hashed, else it is configuration and one object.
        return (type(value).__name__, value) if _hashable(value) else id(value)
    return type(value).__name__, tuple(state(getattr(value, name)) for name in _attributes(value))


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
