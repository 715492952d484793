"""Checks what users give, where a broker would refuse it with more than the one call, or would not see it as it is."""

from __future__ import annotations

from collections.abc import Iterable

from ._core import types as t
from .errors import Invalid

MAX_TEXT_BYTES = 1024
"""The most bytes of a name, an owner or a lock id that are sent. A broker refuses much shorter ones, each with an answer of its
own; but it ends a Session, with all its locks, for a message of more than 4 KiB."""
MOST_BESIDE_VALUE = 512
"""The same of a lock with a value, which all has to fit into one message."""


def ensure_sendable(lock: str, what: str, text: str, most: int = MAX_TEXT_BYTES) -> None:
    """Raises `Invalid` for a text that would end the Session, and with it all other locks."""
    if not isinstance(text, str):
        raise TypeError(f"the {what} has to be a str, not {type(text).__name__}")
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise Invalid(lock, f"the {what} is not Unicode: {error.reason}") from None
    if length > most:
        raise Invalid(lock, f"the {what} has {length} bytes, and brokers take at most 128")


MAX_PERMITS = 4096
"""The most permits of a lock."""


def ensure_number(lock: str, what: str, number: int, least: int, most: int) -> None:
    """Raises `Invalid` for a number that brokers do not take."""
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"the {what} has to be an int, not {type(number).__name__}")
    if not least <= number <= most:
        raise Invalid(lock, f"the {what} is to be {least} to {most}, not {number}")


def ensure_limit(lock: str, limit: int | None) -> None:
    """Raises `Invalid` for a limit that brokers do not take."""
    if limit is not None:
        ensure_number(lock, "limit", limit, 1, MAX_PERMITS)


_MOST_ALSO = 15
"""The most locks that are asked for together with another."""
_MOST_WEIGHT = _MOST_ALSO + 1
"""The most permits that are asked for together."""
_MOST_TOGETHER_BYTES = 3800
"""The most bytes that several may take, which one message names: the request, or that which moves them."""
_BESIDE_TEXTS = 100
"""The most bytes that one of several takes beside its name and its owner: its id, its times, and what frames them."""


def ensure_weight(lock: str, weight: int | None, limit: int | None) -> None:
    """Raises `Invalid` for a weight that brokers do not take."""
    if weight is not None:
        ensure_number(lock, "weight", weight, 1, min(_MOST_WEIGHT, MAX_PERMITS if limit is None else limit))


def others(also: Iterable[str]) -> tuple[str, ...]:
    """Reads the names of locks that are asked for together with another."""
    if isinstance(also, (str, bytes)):
        raise TypeError(f"also has to be several names, as in [{also!r}], not a {type(also).__name__}")
    return tuple(also)


def ensure_together(spec: t.LockSpec) -> None:
    """Raises `Invalid` for locks and permits that cannot be had together, or that one message cannot name."""
    name, also = spec.name, spec.also
    if len(also) > _MOST_ALSO:
        raise Invalid(name, f"{len(also)} other locks are asked for together with it: take at most {_MOST_ALSO}")
    for other in also:
        ensure_sendable(name, "name", other)
    if also and spec.weight > 1:
        raise Invalid(name, "a weight is for one lock alone, and others are asked for together with it")
    if spec.value is not None and also:
        raise Invalid(name, "a value is for one lock alone, and others are asked for together with it")
    if spec.value is not None and spec.is_shared:
        raise Invalid(name, "a value is for a lock that one holder has alone, and it is asked for as a shared one")
    texts = sum(len(one.encode()) + len(spec.owner.encode()) + _BESIDE_TEXTS for one in (name, *spec.others))
    if spec.others and texts > _MOST_TOGETHER_BYTES:
        why = "the names of the locks that are asked for together, and the owner, are too long for one message"
        raise Invalid(name, why)
