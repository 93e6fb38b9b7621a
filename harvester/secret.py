"""What must be shown nowhere: tokens and passwords."""

from __future__ import annotations

from typing import Generic, TypeVar, overload

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Secret(Generic[T_co]):
    """Holds a value that shows as `***`, whoever prints it; `reveal` gives the value itself."""

    __slots__ = ("_value",)

    def __init__(self, value: T_co) -> None:
        self._value = value

    def reveal(self) -> T_co:
        """The value, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "***"


@overload
def revealed(value: None) -> None: ...
@overload
def revealed(value: T | Secret[T]) -> T: ...
def revealed(value: T | Secret[T] | None) -> T | None:
    """A value, if there is one, be it hidden or not."""
    return value.reveal() if isinstance(value, Secret) else value
