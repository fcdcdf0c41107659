"""A mapping that cannot be changed, but pickled and copied."""

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class FrozenMapping(Mapping[K, V]):
    """What a ``dict`` holds, for good.

    Unlike ``types.MappingProxyType`` it can be pickled, so that results can be sent to other
    processes, and deep-copied. It equals any mapping of the same content.

    Example:
        >>> frozen = FrozenMapping({"a": 1})
        >>> frozen["a"], frozen == {"a": 1}
        (1, True)
    """

    __slots__ = ("_content",)
    _content: dict[K, V]

    def __init__(self, content: Mapping[K, V]) -> None:
        object.__setattr__(self, "_content", dict(content))

    def __getitem__(self, key: K) -> V:
        return self._content[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __contains__(self, key: object) -> bool:
        return key in self._content

    def __repr__(self) -> str:
        return repr(self._content)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"This mapping cannot be changed, so {name} cannot be set.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"This mapping cannot be changed, so {name} cannot be deleted.")

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenMapping, (dict(self._content),)
