"""Everything that has to hold before a change lands or is deployed, one step after the other, with a summary at the end."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from infra.settings import ROOT
from ops.console import err, fail

BIN = Path(sys.executable).parent
WORKERS = "2"  # processes for the tests
E2E_HOME = ROOT / ".local" / "e2e"
REPORTS = ROOT / ".local" / "reports"  # one a step of tests; `python -m tests.counts` adds them up

Command = list[str | Path]
Step = tuple[str, Command]


def tests(report: str, *arguments: str) -> Command:
    return [BIN / "pytest", f"--junitxml={REPORTS / report}.xml", "-o", "junit_family=xunit1", *arguments]


FAST: list[Step] = [
    ("formatting", [BIN / "ruff", "format", "--check", "--quiet", "."]),
    ("lint", [BIN / "ruff", "check", "--quiet", "."]),
    ("unit, function, fault, history and template tests", tests("in-process", "-n", WORKERS, "-m", "not e2e", "--dist", "worksteal")),
]
TYPES: Step = ("types", [BIN / "mypy", "--no-error-summary"])  # one process, beside tests that often wait
SOME_MUTANTS: Step = ("five wrong versions of the code", [sys.executable, "-m", "tests.mutants", "--some", "5"])
RESET: Step = ("the local AWS, emptied", [sys.executable, "-m", "ops.local", "reset"])
PREVIOUS: Step = ("the previous release, in use", [sys.executable, "-m", "tests.upgrade"])
DEPLOY: Step = ("cdk deploy to the local AWS", [sys.executable, "-m", "ops.local", "up"])
UPGRADE, ROLES, CLIENTS = (f"tests/e2e/test_{name}.py" for name in ("upgrade", "roles", "soak"))
APART = [part for path in (UPGRADE, ROLES, CLIENTS) for part in ("--ignore", path)]
E2E: list[Step] = [
    RESET,
    PREVIOUS,
    DEPLOY,
    ("what the upgrade has kept", tests("upgrade", "-m", "e2e", UPGRADE)),
    ("end-to-end tests", tests("end-to-end", "-m", "e2e", "tests/e2e", *APART)),
    ("each role without each of its grants", tests("roles", "-m", "e2e", ROLES)),
    ("clients over HTTP while containers are killed", tests("clients", "-m", "e2e", "-s", CLIENTS)),
    ("the previous release again", [sys.executable, "-m", "tests.upgrade", "--back"]),
]

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)


@app.command()
def fast() -> None:
    """Style, types, unit, function and template tests."""
    run_steps(FAST, dict(os.environ), [TYPES])


@app.command("all")
def everything() -> None:
    """The same, and an end-to-end run over HTTP on a local AWS of its own (port and folder), deployed as `make up` does."""
    on_own_aws([*FAST, SOME_MUTANTS, *E2E], {}, [TYPES])


@app.command()
def soak(minutes: Annotated[int, typer.Option(min=2, help="How long, half of it for each.")] = 30) -> None:
    """Random histories, then clients over HTTP on the same local AWS; what those did is left in its `last-soak.json`."""
    half = minutes / 2
    histories: Step = ("random histories", [sys.executable, "-m", "tests.histories.machine", "--minutes", str(half)])
    clients: Step = ("clients over HTTP while containers are killed", [BIN / "pytest", "-m", "e2e", "-s", CLIENTS])
    on_own_aws([histories, RESET, DEPLOY, clients], {"PARLEY_SOAK_SECONDS": str(round(half * 60))})


def on_own_aws(steps: list[Step], settings: dict[str, str], beside: Sequence[Step] = ()) -> None:
    env = {**os.environ, **settings, "PARLEY_HOME": str(E2E_HOME), "PARLEY_PORT": str(_free_port())}
    try:
        run_steps(steps, env, beside)
    finally:
        subprocess.run([sys.executable, "-m", "ops.local", "down"], cwd=ROOT, env=env, capture_output=True, check=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_steps(steps: list[Step], env: dict[str, str], beside: Sequence[Step] = ()) -> None:
    """Runs each step in turn, its output as it comes; ends the program at the first that fails.

    What is `beside` them takes what they leave of the machine; what it says is shown if it fails.
    """
    done: list[str] = []
    with ExitStack() as lanes:
        running = [(what, lanes.enter_context(_Lane(command, env))) for what, command in beside]
        for number, (what, command) in enumerate(steps, 1):
            err.print(f"\n[bold]{number}/{len(steps)} {what}[/bold]", markup=True)
            started = time.monotonic()
            failed = subprocess.run([str(part) for part in command], cwd=ROOT, env=env, check=False).returncode
            done.append(_verdict(what, failed, time.monotonic() - started))
            if failed:
                break
        else:
            for what, lane in running:
                failed = lane.wait()
                done.append(_verdict(f"{what}, beside them", failed))
                if failed:
                    break
    err.print("\n" + "\n".join(done), markup=True)
    if failed:
        fail(f"{what} failed, see above")


def _verdict(what: str, failed: int, seconds: float | None = None) -> str:
    took = "" if seconds is None else f" [dim]{seconds:.0f} s[/dim]"
    return f"{'[red]✗[/red]' if failed else '[green]✓[/green]'} {what}{took}"


class _Lane:
    """A command that makes way for others, and is ended with them."""

    def __init__(self, command: Command, env: dict[str, str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 – closed with the lane
        self._process = subprocess.Popen(["nice", *map(str, command)], cwd=ROOT, env=env, stdout=self._said, stderr=subprocess.STDOUT)

    def __enter__(self) -> "_Lane":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def wait(self) -> int:
        """Its exit code, once it has ended; shows what it said where that is not 0."""
        failed = self._process.wait()
        self._said.seek(0)
        if failed:
            err.print(self._said.read().decode(), markup=False)
        return failed


if __name__ == "__main__":
    app()
