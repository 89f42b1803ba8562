"""What a container remembers between two requests."""

import time
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memory(Generic[K, V]):
    """Values that are at most `seconds` old, and at most so many of them; what was put first is forgotten first.

    Their age is told by the wall clock. The monotonic one stands still while Lambda has frozen the container: what it dates stays young for
    hours. What seems to come from the future, because the clock was set back, is forgotten too.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self.seconds, self._most = seconds, most
        self._held: dict[K, tuple[float, V]] = {}

    def get(self, key: K) -> V | None:
        held = self._held.get(key)
        return held[1] if held and 0 <= time.time() - held[0] < self.seconds else None

    def put(self, key: K, value: V) -> None:
        self._held.pop(key, None)
        if len(self._held) >= self._most:
            del self._held[next(iter(self._held))]
        self._held[key] = time.time(), value

    def clear(self) -> None:
        self._held.clear()
