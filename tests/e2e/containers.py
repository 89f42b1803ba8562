"""The processes in which the local AWS runs the functions: killing one is what a crash of its machine is on AWS."""

import os
import re
import signal
import subprocess

from ops import stack


def running(function: str = "[a-z]+") -> dict[int, bool]:
    """The containers of a function, of all functions where none is named, by process id: whether each is at work this very moment."""
    aws = (stack.home() / "aws.pid").read_text().split()[0]
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=3) for line in listed.splitlines()]
    ours = re.compile(rf"/ministack-lambda-\S+-{function}-[^-/]+/")
    return {int(row[0]): row[2].startswith("R") for row in rows if len(row) == 4 and row[1] == aws and ours.search(row[3])}


def kill(pid: int) -> bool:
    """At once, whatever it is doing; False where it was gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def gone(pid: int) -> bool:
    """Whether the process has ended, collected by its parent or not yet."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return not state or state.startswith("Z")
