"""Time that passes only when everybody waits: a thousand requests at once cost no waiting, and the same seed gives the same run."""

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class Task:
    """What runs beside others. `waiter` goes on when it has ended."""

    call: Callable[[], Any]
    begins: Lock
    result: Any = None
    error: Exception | None = None
    ended: bool = False
    waiter: "Lock | None" = None  # threading.Lock is no class before Python 3.13


class VirtualTime:
    """Threads on one clock, of which one runs at a time: who waits hands over to the one whose moment comes next.

    Only such a thread, and the one that made the clock, may call this.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.moved: Callable[[float], None] = lambda now_s: None  # is told each new time
        self._agenda: list[tuple[float, int, Lock]] = []  # when, in which order, who
        self._order = itertools.count()

    def sleep(self, seconds: float) -> None:
        gate = self._appointment(seconds)
        self._hand_over()
        gate.acquire()

    def start(self, call: Callable[[], Any]) -> Task:
        """`call` begins at this moment, as soon as whoever runs now waits."""
        task = Task(call, self._appointment(0))
        Thread(target=self._run, args=(task,), daemon=True).start()  # daemon: an interrupted run leaves some that wait for ever
        return task

    def join(self, tasks: Sequence[Task]) -> list[Any]:
        """What they came to, when all of them have ended; of several errors the first one is raised."""
        for task in tasks:
            if not task.ended:
                task.waiter = _closed()
                self._hand_over()
                task.waiter.acquire()
        for task in tasks:
            if task.error:
                raise task.error
        return [task.result for task in tasks]

    def parallel(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """As `store.parallel`."""
        return self.join([self.start(call) for call in calls]) if len(calls) > 1 else [call() for call in calls]

    def _appointment(self, seconds: float) -> Lock:
        """Opens in so many seconds."""
        return self._enter(seconds, _closed())

    def _enter(self, seconds: float, gate: Lock) -> Lock:
        heapq.heappush(self._agenda, (self.now_s + seconds, next(self._order), gate))
        return gate

    def _hand_over(self) -> None:
        self.now_s, _, gate = heapq.heappop(self._agenda)
        self.moved(self.now_s)
        gate.release()

    def _run(self, task: Task) -> None:
        task.begins.acquire()
        try:
            task.result = task.call()
        except Exception as error:  # raised where the task is joined
            task.error = error
        task.ended = True
        if task.waiter:
            self._enter(0, task.waiter)
        self._hand_over()


def _closed() -> Lock:
    gate = Lock()
    gate.acquire()
    return gate
