"""What is uploaded: `functions/` as one asset, its dependencies as one layer, both compiled ahead so that a cold start does not.

Built by uv from the lock file, without Docker, for Lambda's Python and processor or for the interpreter that runs the local AWS. The
bytecode is `unchecked-hash`: a zip that resets file dates does not make it stale.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from infra import trim
from infra.settings import ROOT

LAMBDA_PYTHON = "3.13"
LAMBDA_PLATFORM = "aarch64-manylinux_2_28"  # Amazon Linux 2023 on arm64
BUILD = ROOT / ".local" / "build"
FUNCTIONS = ROOT / "functions"
ROOTS = "roots.pem"  # in the layer, beside `python`: the certificates that the functions trust; Lambda unpacks a layer to /opt
UV = str(Path(sys.executable).parent / "uv")

Target = Literal["aws", "local"]


def layer(target: Target) -> Path:
    """The folder to upload as the dependency layer; built when the lock file or the target's Python changed."""
    requirements = runtime("--no-annotate", "--no-header")
    where = BUILD / f"layer-{target}-{_digest(requirements, *_builder(target))}"
    if not (where.exists() and sbom(where).exists()):
        making = Path(tempfile.mkdtemp(dir=_made(BUILD)))
        packages = making / "python"
        install(target, requirements, packages)
        bill = json.dumps(installed(json.loads(runtime("--format", "cyclonedx1.5")), packages), indent=2)
        trim.trim(packages)
        (making / ROOTS).write_text(trim.roots(packages))
        _compile(packages, target, "/opt/python")
        (written := making.with_suffix(".cdx.json")).write_text(bill)
        written.rename(sbom(where))
        _publish(making, where)
    return where


def install(target: Target, requirements: str, into: Path) -> None:
    """Unpacks the wheels that `requirements` names, each with its hashes; SystemExit where one is not what was locked."""
    python = (
        ["--python", sys.executable] if target == "local" else ["--python-version", LAMBDA_PYTHON, "--python-platform", LAMBDA_PLATFORM]
    )
    # Copied, since files that are linked to uv's cache must not be changed.
    exactly = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--link-mode", "copy"]
    _uv("pip", "install", *exactly, "--target", str(into), *python, "--requirements", "-", stdin=requirements)


def sbom(layer: Path) -> Path:
    """The bill of materials of a layer, CycloneDX 1.5, beside it: the wheels that were installed, from where, with their hashes."""
    return layer.with_name(f"{layer.name}.cdx.json")


def installed(locked: dict[str, Any], packages: Path) -> dict[str, Any]:
    """The bill of what lies in a folder: of what was locked, the distributions that are there, each with the one wheel that it is from.

    A wheel is known by its tags, which its name and its own WHEEL file tell. SystemExit where something there was not locked.
    """
    components = {(each["name"], each["version"]): each for each in locked["components"]}
    found = []
    for folder in sorted(packages.glob("*.dist-info")):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        tags = set(re.findall(r"^Tag: (\S+)$", (folder / "WHEEL").read_text(), re.MULTILINE))
        component = components.get((re.sub(r"[-_.]+", "-", name).lower(), version), {})
        wheels = [each for each in component.get("externalReferences", ()) if _tags(each["url"]) == tags]
        if len(wheels) != 1:
            raise SystemExit(f"{name} {version} was installed from a wheel that is not locked")
        found.append({**component, "externalReferences": wheels})
    references = {each["bom-ref"] for each in found}
    graph = [
        {**each, **({"dependsOn": [to for to in each["dependsOn"] if to in references]} if "dependsOn" in each else {})}
        for each in locked["dependencies"]
        if each["ref"] in {*references, locked["metadata"]["component"]["bom-ref"]}
    ]
    return {**locked, "components": found, "dependencies": graph}


def _tags(url: str) -> set[str]:
    """What a wheel's name says that it is for; nothing for what is no wheel."""
    if not url.endswith(".whl"):
        return set()
    parts = [part.split(".") for part in url.removesuffix(".whl").split("-")[-3:]]
    return {"-".join(each) for each in product(*parts)}


def runtime(*options: str) -> str:
    """What the functions run on, from the lock file, in a form that `uv export` knows."""
    return _uv("export", "--frozen", "--no-default-groups", "--no-emit-project", *options)


def asset(target: Target) -> Path:
    """The folder to upload as the functions' code; built when a source changed."""
    sources = sorted(path for path in FUNCTIONS.rglob("*.py"))
    content = [f"{path.relative_to(FUNCTIONS)}\0{path.read_text()}" for path in sources]
    where = BUILD / f"functions-{target}-{_digest(*content, *_builder(target))}"
    if not where.exists():
        making = Path(tempfile.mkdtemp(dir=_made(BUILD)))
        shutil.copytree(FUNCTIONS, making, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"), dirs_exist_ok=True)
        _compile(making, target, "/var/task")
        _publish(making, where)
    return where


def _builder(target: Target) -> tuple[str, ...]:
    """What else than the sources decides what is built."""
    how = (Path(__file__).read_text(), Path(trim.__file__).read_text(), str(sorted(map(sorted, trim.OPERATIONS.values()))))
    return target, sys.version, str(_lambda_python()), *how


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _publish(making: Path, where: Path) -> None:
    """Gives a finished folder its name; where another process was quicker, its own is the same."""
    making.chmod(0o755)
    try:
        making.rename(where)
    except OSError:
        shutil.rmtree(making)
        if not where.exists():
            raise


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compile(folder: Path, target: Target, deployed_at: str) -> None:
    """Compiles with the Python that will run it; where that one is not on this machine, Lambda compiles at every cold start."""
    python = sys.executable if target == "local" else _lambda_python()
    if python is None:
        return
    options = ["--invalidation-mode", "unchecked-hash", "-q", "-s", str(folder), "-p", deployed_at]
    subprocess.run([python, "-m", "compileall", *options, str(folder)], check=True)


@cache
def _lambda_python() -> str | None:
    if sys.version.startswith(LAMBDA_PYTHON):
        return sys.executable
    # pyenv shows only what it was told to; its variable has no meaning elsewhere.
    for environment in ({}, {"PYENV_VERSION": LAMBDA_PYTHON}):
        find = [UV, "python", "find", LAMBDA_PYTHON]
        found = subprocess.run(find, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
    print(
        f"note: no Python {LAMBDA_PYTHON} on this machine, uploads to AWS get no bytecode and start slower;"
        f" `uv python install {LAMBDA_PYTHON}` gets one",
        file=sys.stderr,
    )
    return None


def _uv(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        [UV, "--quiet", "--color", "never", *arguments], input=stdin, capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode:
        raise SystemExit(f"uv {' '.join(arguments[:2])} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":  # ahead of time, so that a later `cdk synth` needs no network
    for each in get_args(Target):
        layer(each)
