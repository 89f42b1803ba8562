"""Progress while something in another process is under way."""

from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import TypeVar

from ops.bench.figures import Progress

EVERY_S = 1.5

T = TypeVar("T")


def while_waiting(future: "Future[T]", progress: Progress, doing: str) -> T:
    """The result; until it is there, says every now and then what is being done."""
    while True:
        progress(doing)
        try:
            return future.result(EVERY_S)
        except NotYet:
            if future.done():
                raise
