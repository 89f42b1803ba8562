"""Start-up: what a new container spends before its first answer, in CPU time of a fresh interpreter.

What is deployed (the asset and the layer, as built for this machine) runs in the bare interpreter: nothing else is on its path. It is
imported, or imported and asked one request from `events/`, its AWS calls going over TLS to the stub. Counted is the CPU of the process
(user and system, from the kernel) above that of an interpreter that does nothing. The runs of all variants take turns, so that a slow
minute hits them all; a ratio is one of minima, the runs that the rest of the machine disturbed least.
"""

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import botocore

from infra import package
from infra.catalog import FUNCTIONS
from infra.package import Target
from ops.bench import stub
from ops.bench.figures import Figure, Line, Part, Progress

ROUNDS = 9
CLOSE = ("send answered", "send answered, dates reset")  # run twice a round: their ratio is held to 5 %
SAME_ROOTS = "smallest send answered, trusting the layer's roots"
ZIP_EPOCH_S = 315_532_800  # 1 January 1980, UTC: what a zip tool that resets dates writes
MB = 1_000_000  # bytes
INTERPRETER = [sys._base_executable, "-I", "-S", "-B"]  # type: ignore[attr-defined]  # no site-packages, no environment, nothing written
BARE = "import os; os._exit(0)"
REQUEST = """\
import os, sys
*folders, module, name, event = sys.argv[1:]
sys.path[:0] = folders
handler = getattr(__import__(module, fromlist=[name]), name)
if event:
    import json
    class Context:
        aws_request_id = "11111111-2222-3333-4444-555555555555"
    print(json.dumps(handler(json.loads(event), Context)), flush=True)
os._exit(0)  # a container is frozen, and never tidies up as an interpreter does at its end
"""
SEND_GOAL, OTHERS_GOAL, ZEROED_GOAL, ZIPPED_GOAL_MB = 5.0, 3.5, 1.05, 6.0


@dataclass(frozen=True)
class Variant:
    """A handler on some folders; `event` None: it is only imported."""

    folders: tuple[Path, ...]
    module: str
    handler: str
    event: str | None

    @property
    def command(self) -> list[str]:
        return [*INTERPRETER, "-c", REQUEST, *map(str, self.folders), self.module, self.handler, self.event or ""]


@dataclass(frozen=True)
class Cpu:
    """CPU of the runs of one variant, ms."""

    runs: list[float]

    @property
    def least(self) -> float:
        return min(self.runs)

    @property
    def median(self) -> float:
        return statistics.median(self.runs)


def measure(progress: Progress) -> Part:
    """Start-up of every function as a multiple of the smallest function that makes the same calls; and the size of what is uploaded."""
    progress("start-up: building what is deployed")
    folders = (package.asset("local"), package.layer("local") / "python")
    with tempfile.TemporaryDirectory() as scratch, stub.running(tls=True) as started:
        aws = _trusted_like_aws(started, folders, Path(scratch))
        variants = dict(_variants(folders, Path(scratch)))
        _require_same_calls(variants, aws)
        runs: dict[str, list[float]] = defaultdict(list)
        for at in range(ROUNDS):
            for name in (*variants, *CLOSE):
                progress(f"start-up: round {at + 1} of {ROUNDS}, {name}")
                runs[name].append(_cpu_ms(variants[name].command, aws))
            runs[SAME_ROOTS].append(_cpu_ms(variants["smallest send answered"].command, replace(aws, system=aws.bundle)))
            runs["bare"].append(_cpu_ms([*INTERPRETER, "-c", BARE], aws))
        progress("start-up: zipping what is uploaded")
        return Part("startup", _figures({name: Cpu(taken) for name, taken in runs.items()}) + _sizes(), {"start-up": _bars(runs)})


def _trusted_like_aws(aws: stub.Stub, folders: tuple[Path, Path], scratch: Path) -> stub.Stub:
    """The stub, its certificate among those that the layer's SDK trusts, and among a system's: so many are loaded for each connection."""
    own = aws.bundle.read_bytes() if aws.bundle else b""
    bundle, system = scratch / "bundle.pem", scratch / "system.pem"
    bundle.write_bytes(own + (folders[1].parent / package.ROOTS).read_bytes())
    system.write_bytes(own + (Path(botocore.__file__).parent / "cacert.pem").read_bytes())  # Mozilla's, as on Lambda
    return replace(aws, bundle=bundle, system=system)


def _variants(folders: tuple[Path, Path], scratch: Path) -> Iterator[tuple[str, Variant]]:
    """By name: every function and the smallest that does its work, imported and answering; send with dates reset, and without bytecode."""
    shutil.copy(Path(__file__).with_name("smallest.py"), scratch)
    subprocess.run([sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", scratch], check=True)
    for row in FUNCTIONS:
        event = json.dumps(stub.event(row.name))
        for step, given in (("imported", None), ("answered", event)):
            yield f"{row.name} {step}", Variant(folders, row.module, "handler", given)
            yield f"smallest {row.name} {step}", Variant((scratch,), "smallest", row.name, given)
    send = json.dumps(stub.event("send"))
    dated, sources = [], []
    for folder in folders:
        dated.append(Path(shutil.copytree(folder, scratch / "dated" / folder.name)))
        sources.append(Path(shutil.copytree(folder, scratch / "sources" / folder.name, ignore=shutil.ignore_patterns("__pycache__"))))
    for path in (scratch / "dated").rglob("*"):
        os.utime(path, (ZIP_EPOCH_S, ZIP_EPOCH_S))
    yield "send answered, dates reset", Variant(tuple(dated), "endpoints.send", "handler", send)
    yield "send answered, without bytecode", Variant(tuple(sources), "endpoints.send", "handler", send)


def _cpu_ms(command: list[str], aws: stub.Stub) -> float:
    """The CPU of one process, ms; RuntimeError where it fails, or answers anything but success."""
    aws.restore()
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, env=aws.environment, cwd="/", stdin=subprocess.DEVNULL, stdout=told)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        lines = told.read().decode().splitlines()
    if process.returncode:
        raise RuntimeError(f"{command[-3:]} ended with {process.returncode}")
    if lines and (answer := stub.envelope(json.loads(lines[-1]))) != {"batchItemFailures": []} and answer["code"] != 200:
        raise RuntimeError(f"{command[-3:]} was refused: {answer}")
    return (used.ru_utime + used.ru_stime) * 1000


def _require_same_calls(variants: Mapping[str, Variant], aws: stub.Stub) -> None:
    """RuntimeError where the smallest function makes other calls than ours: it would be no yardstick then."""
    for row in FUNCTIONS:
        made = []
        for name in (f"{row.name} answered", f"smallest {row.name} answered"):
            _cpu_ms(variants[name].command, aws)
            made.append(sorted(aws.calls()))
        if made[0] != made[1]:
            raise RuntimeError(f"{row.name} makes {made[0]}, the smallest function {made[1]}: smallest.py has to follow")


def _figures(cpu: Mapping[str, Cpu]) -> list[Figure]:
    bare = cpu["bare"]

    def above(name: str) -> float:
        return cpu[name].least - bare.least

    def ratio(name: str, to: str) -> float:
        return above(name) / above(to)

    figures, endpoints = [], {}
    for row in FUNCTIONS:
        name, to = f"{row.name} answered", f"smallest {row.name} answered"
        medians = (cpu[name].median - bare.median) / (cpu[to].median - bare.median)
        imported = f"{row.name} imported", f"smallest {row.name} imported"
        note = (
            f"first request answered: {above(name):.0f} ms to {above(to):.0f} ms of CPU (medians {medians:.1f} ×); "
            f"imported alone {above(imported[0]):.0f} to {above(imported[1]):.0f} ms ({ratio(*imported):.1f} ×)"
        )
        goal = (SEND_GOAL if row.name == "send" else OTHERS_GOAL) if row.is_endpoint else None
        what = f"Start-up CPU of {row.name}, to the smallest function making its calls"
        figures.append(Figure(what, ratio(name, to), "×", goal, note=note))
        if row.is_endpoint and row.name != "send":
            endpoints[row.name] = ratio(name, to)
    worst = max(endpoints, key=lambda name: endpoints[name])
    figures.append(Figure("Start-up CPU of the other endpoints, the worst", endpoints[worst], "×", OTHERS_GOAL, note=worst))
    note = f"it would take {above(SAME_ROOTS):.0f} ms if it, too, trusted the layer's few roots instead of the system's"
    figures.append(Figure("Start-up CPU of send, to the smallest with the same roots", ratio("send answered", SAME_ROOTS), "×", note=note))
    (_, dated), sources = CLOSE, "send answered, without bytecode"
    note = f"send, first request answered: {above(dated):.0f} ms of CPU to {above('send answered'):.0f} ms"
    figures.append(Figure("Start-up with zeroed file dates, to normal", ratio(dated, "send answered"), "×", ZEROED_GOAL, note=note))
    note = f"send, first request answered: {above(sources):.0f} ms of CPU to {above('send answered'):.0f} ms"
    figures.append(Figure("Start-up without bytecode, to normal", ratio(sources, "send answered"), "×", note=note))
    return figures


def _bars(runs: Mapping[str, list[float]]) -> list[Line]:
    """Bars of one plot, least CPU in ms, bare Python included: y at x = 0 when imported, at x = 1 when the first request is answered."""
    bare = min(runs["bare"])
    bars = [Line("bare Python", [0, 1], [bare, bare])]
    for bar, name in (("smallest possible send", "smallest send"), *((row.name, row.name) for row in FUNCTIONS)):
        bars.append(Line(bar, [0, 1], [min(runs[f"{name} imported"]), min(runs[f"{name} answered"])]))
    return [*bars, Line("send without bytecode", [1], [min(runs["send answered, without bytecode"])])]


def _sizes() -> list[Figure]:
    figures = []
    targets: list[tuple[Target, float | None]] = [("local", ZIPPED_GOAL_MB), ("aws", ZIPPED_GOAL_MB)]
    for target, goal in targets:
        asset, layer = package.asset(target), package.layer(target)
        sizes = [_zipped_mb(folder) for folder in (asset, layer)]
        bytecode = "with" if any(layer.rglob("*.pyc")) else "without"
        built = "this machine" if target == "local" else f"Lambda, Python {package.LAMBDA_PYTHON} on arm64"
        note = f"built for {built}, {bytecode} bytecode: asset {sizes[0]:.2f}, layer {sizes[1]:.2f}"
        figures.append(Figure(f"Layer and asset, zipped ({target} build)", sum(sizes), "MB", goal, note=note))
    return figures


def _zipped_mb(folder: Path) -> float:
    """Megabytes of a folder as one zip file, deflated."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return len(target.getbuffer()) / MB


def main() -> None:
    for figure in measure(lambda doing: print(f"\r\033[K{doing}", end="", file=sys.stderr, flush=True)).figures:
        met = {None: "", True: "✓", False: "✗"}[figure.met]
        print(f"{figure.value:8.2f} {figure.unit}  (goal {figure.goal}) {met}  {figure.what}: {figure.note}")


if __name__ == "__main__":
    main()
