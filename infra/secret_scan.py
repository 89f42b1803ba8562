"""`python -m infra.secret_scan`: no tracked file holds a secret, as detect-secrets recognises them.

Where tests and sample events are full of harmless hashes and passwords, only what has the shape of a real key counts.
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from detect_secrets.core.scan import scan_file
from detect_secrets.settings import default_settings

from infra.settings import ROOT

GUESSES = {"Base64 High Entropy String", "Hex High Entropy String", "Secret Keyword"}
HARMLESS = ("tests/", "events/")
GENERATED = ("uv.lock",)  # hashes of packages
KNOWN = {  # (file, what it looks like, what else is in the line): why it is none
    ("ops/stack.py", "Secret Keyword", "TokenSecret"): "the name of a variable",
    ("ops/bench/stub.py", "Secret Keyword", "TokenKeys"): "the name of a secret",
    ("ops/stack.py", "Secret Keyword", "AWS_SECRET_ACCESS_KEY"): "what the local AWS takes from everybody",
}


def main() -> None:
    """SystemExit with every finding, or one line that says how much was looked at."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    files = [name for name in listed.stdout.split("\0") if name and name not in GENERATED]
    if not files:
        raise SystemExit(f"secrets: git knows no file in {ROOT}: nothing was scanned")
    found = scan(ROOT, files)
    if found:
        raise SystemExit("\n".join(["secrets: remove them, make new ones, or say in infra/secret_scan.py why they are none:", *found]))
    print(f"secrets: none in {len(files)} files")


def scan(root: Path, files: Iterable[str]) -> list[str]:
    """`file:line: kind` of everything that looks like a secret; never the secret itself."""
    found = []
    with default_settings():
        for name in files:
            path = root / name
            lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
            for secret in scan_file(str(path)) if lines else ():
                guessed = secret.type in GUESSES and name.startswith(HARMLESS)
                line = lines[secret.line_number - 1]
                if not guessed and not any((name, secret.type) == row[:2] and row[2] in line for row in KNOWN):
                    found.append(f"  {name}:{secret.line_number}: {secret.type}")
    return found


if __name__ == "__main__":
    main()
