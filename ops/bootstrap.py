"""Makes the project's own environment, `.venv`, from the lock file. Needs nothing but Python 3.11 or newer.

Standard library only, and old syntax, so that an old Python can say what is missing.
"""

import os
import subprocess
import sys

OLDEST = (3, 11)
UV = "uv==0.13.9"  # the same as in uv.lock
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")


def stop(sentence):
    sys.exit("make: " + sentence)


def run(what, *command):
    print("• " + what, flush=True)
    if subprocess.call(command, cwd=ROOT) != 0:
        stop(what + " failed, see above")


def runs(python):
    """Whether this is a Python, and not a version manager's signpost to one that is not there."""
    return subprocess.call([python, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def another_python():
    for minor in (13, 12, 11):
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            path = os.path.join(folder, "python3.{}".format(minor))
            if os.access(path, os.X_OK) and runs(path):
                return path
    return None


def main():
    if sys.version_info < OLDEST:
        found = another_python()
        if found is None:
            version = ".".join(map(str, sys.version_info[:3]))
            stop("Python 3.11 or newer is needed, this is {}. Install one, or name one: PYTHON=/path/to/python3.12".format(version))
        os.execv(found, [found, os.path.abspath(__file__)])
    python = os.path.join(VENV, "bin", "python")
    if not os.path.exists(os.path.join(VENV, "bin", "uv")):
        run("Making .venv with Python {}.{}".format(*sys.version_info[:2]), sys.executable, "-m", "venv", "--clear", VENV)
        run("Installing uv", python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
    quiet = [] if sys.stderr.isatty() else ["--quiet"]  # on a terminal uv shows how far it is
    run("Installing the locked dependencies", os.path.join(VENV, "bin", "uv"), "sync", "--frozen", "--python", python, *quiet)
    run("Building the dependency layers", python, "-m", "infra.package")
    with open(os.path.join(VENV, ".ready"), "w"):
        pass


if __name__ == "__main__":
    main()
