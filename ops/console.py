"""What a command shows while it works, and how it fails: one clear sentence on stderr and a non-zero exit."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

PIPED_COLUMNS = 10_000  # where the output is no screen nothing is cut off
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPED_COLUMNS)
err = Console(stderr=True, highlight=False, soft_wrap=True)
HEARTBEAT_S = 10  # between two signs of life where the output is no terminal


def fail(sentence: str) -> NoReturn:
    err.print(f"[red]parley:[/red] {escape(sentence)}", markup=True)
    sys.exit(1)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Shows that something is being done, and how long it took."""
    started = time.monotonic()
    if err.is_terminal:
        with err.status(what):
            yield
    else:
        err.print(f"… {what}")
        yield
    err.print(f"[green]✓[/green] {what} [dim]{time.monotonic() - started:.1f} s[/dim]", markup=True)


def run(what: str, command: Sequence[str | Path], env: Mapping[str, str], log: Path, cwd: Path) -> None:
    """Runs a program, its output in `log`, its latest line on the screen; exits with the log's path where it fails."""
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    shown = started
    with log.open("w") as file, err.status(what) as status:
        if not err.is_terminal:
            err.print(f"… {what}")
        process = subprocess.Popen(
            [str(part) for part in command], env=dict(env), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in process.stdout or ():
            file.write(line)
            status.update(f"{what} [dim]{escape(line.strip()[:100])}[/dim]")
            if not err.is_terminal and time.monotonic() - shown > HEARTBEAT_S:
                shown = time.monotonic()
                err.print(f"  {line.strip()[:120]}", markup=False)
        code = process.wait()
    if code:
        tail = "\n".join(log.read_text().splitlines()[-15:])
        err.print(tail, markup=False)
        fail(f"{what} failed (exit {code}); the whole log: {log}")
    err.print(f"[green]✓[/green] {what} [dim]{time.monotonic() - started:.1f} s[/dim]", markup=True)
