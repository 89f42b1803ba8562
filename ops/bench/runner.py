"""Runs one part of the benchmark in a process of its own: what another part left in memory, or set, is not measured with it."""

import importlib
import traceback
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import monotonic

from ops.bench.figures import Part, Progress

PARTS = ("units", "costs", "growth", "groups", "bursts", "delivery", "startup", "warm", "latency", "gateway")
HEARTBEAT_S = 0.5  # after so long without a word the last one is repeated


class Failed(Exception):
    """A part did not come to its end: the traceback, or how its process died."""


@dataclass(frozen=True)
class _Error:
    text: str


def run(module: str, progress: Progress) -> Part:
    """What `measure` of the module hands over. The module, by its full name, is imported in the other process only."""
    here, there = get_context("spawn").Pipe(duplex=False)
    process = get_context("spawn").Process(target=_measure, args=(module, there))
    process.start()
    there.close()
    started, doing = monotonic(), module.rpartition(".")[2]
    try:
        while True:
            if not here.poll(HEARTBEAT_S):
                progress(f"{doing} ({monotonic() - started:.0f} s)")
                continue
            said = here.recv()
            if isinstance(said, Part):
                return said
            if isinstance(said, _Error):
                raise Failed(said.text)
            doing = said
            progress(doing)
    except EOFError:
        process.join()
        raise Failed(f"its process ended with {process.exitcode}") from None
    finally:
        here.close()
        process.join()


def _measure(module: str, there: Connection) -> None:
    try:
        there.send(importlib.import_module(module).measure(there.send))
    except Exception:  # the other parts are still worth measuring
        there.send(_Error(traceback.format_exc()))
