"""`python -m infra.audit`: the locked dependencies of the functions against known vulnerabilities, as pip-audit finds them.

Needs the vulnerability service (pypi.org, or osv.dev with `--service osv`), so it belongs to deploying and to a schedule, not to the
tests. What could not be audited fails, and so does an audit of nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from infra import package

TIMEOUT_S = 30  # of one request to the service
UNREACHABLE = "ServiceError", "ConnectionError", "ConnectTimeout", "ReadTimeout", "Max retries", "Connection refused", "Connection reset"


def main(arguments: list[str] | None = None) -> None:
    """SystemExit with what is vulnerable, or why it is not known; else one line that says how much was audited."""
    parser = argparse.ArgumentParser(prog="python -m infra.audit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--service", choices=["pypi", "osv"], default="pypi")
    parser.add_argument("--osv-url", help="another place of the osv service")
    options = parser.parse_args(arguments)
    requirements = package.runtime("--no-annotate", "--no-header")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        command: list[str | Path] = [
            Path(sys.executable).parent / "pip-audit",
            "--requirement",
            file.name,
            "--disable-pip",
            "--require-hashes",
        ]
        command += [
            "--format",
            "json",
            "--progress-spinner",
            "off",
            "--timeout",
            str(TIMEOUT_S),
            "--vulnerability-service",
            options.service,
        ]
        command += ["--osv-url", options.osv_url] if options.osv_url else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        if any(sign in done.stderr for sign in UNREACHABLE):
            raise SystemExit(f"audit: the vulnerability service ({options.service}) cannot be reached: nothing was audited") from None
        raise SystemExit(f"audit: pip-audit failed:\n{done.stderr}") from None
    wanted = {line.split("==")[0].strip() for line in requirements.splitlines() if "==" in line}
    print(judge(report, wanted))


def judge(report: dict[str, Any], wanted: set[str]) -> str:
    """What to say of an audit in which nothing is wrong; SystemExit where a package is vulnerable or was not audited."""
    audited = {each["name"]: each for each in report["dependencies"] if "skip_reason" not in each}
    if not wanted or not audited:
        raise SystemExit("audit: nothing was audited: the vulnerability service knows none of the packages, or cannot be reached")
    vulnerable = [
        f"  {each['name']} {each['version']}: {vuln['id']}, fixed in {', '.join(vuln['fix_versions']) or 'no version yet'}"
        for each in audited.values()
        for vuln in each["vulns"]
    ]
    if vulnerable:
        raise SystemExit("\n".join(["audit: known vulnerabilities in what the functions run on:", *vulnerable]))
    if missing := sorted(wanted - set(audited)):
        raise SystemExit(f"audit: not audited: {', '.join(missing)}")
    return f"audit: {len(audited)} packages, no known vulnerability"


if __name__ == "__main__":
    main()
