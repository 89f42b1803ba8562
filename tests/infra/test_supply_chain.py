"""What we take from others and what we must not give away: the audit, the bill of materials, the search for secrets."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra import audit, package, secret_scan
from infra.settings import ROOT

Answer = Callable[[str], tuple[int, dict[str, Any]]]  # of the vulnerability service, for a package


@pytest.fixture
def service() -> Iterator[Callable[[Answer], str]]:
    """A vulnerability service that answers as it is told; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, body = answer(query["package"]["name"])
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/v1/query"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def audited(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.audit", "--service", "osv", "--osv-url", url]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_PROXY": "*"}, capture_output=True, text=True, check=False)


def flaw(name: str) -> dict[str, Any]:
    return {
        "id": "PYSEC-2099-1",
        "details": "bad",
        "aliases": [],
        "affected": [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "99"}]}]}],
    }


def test_an_audit_says_how_much_it_has_looked_at(service: Callable[[Answer], str]) -> None:
    asked: list[str] = []

    def nothing(name: str) -> tuple[int, dict[str, Any]]:
        asked.append(name)
        return 200, {}

    done = audited(service(nothing))
    assert (done.returncode, done.stdout) == (0, f"audit: {len(asked)} packages, no known vulnerability\n"), done.stderr
    assert {"boto3", "pydantic", "pyjwt", "aws-lambda-powertools"} <= set(asked)
    assert "pytest" not in asked


def test_a_vulnerable_package_fails_the_audit_by_name(service: Callable[[Answer], str]) -> None:
    done = audited(service(lambda name: (200, {"vulns": [flaw(name)]} if name == "pyjwt" else {})))
    assert done.returncode == 1
    assert "pyjwt" in done.stderr
    assert "PYSEC-2099-1" in done.stderr


def test_an_audit_that_reached_nobody_fails_with_one_sentence() -> None:
    done = audited("http://127.0.0.1:9/v1/query")
    assert done.returncode == 1
    assert done.stderr == "audit: the vulnerability service (osv) cannot be reached: nothing was audited\n"


@pytest.mark.parametrize(
    ("report", "wanted", "said"),
    [
        ({"dependencies": []}, set(), "nothing was audited"),
        ({"dependencies": []}, {"boto3"}, "nothing was audited"),
        ({"dependencies": [{"name": "boto3", "skip_reason": "not found"}]}, {"boto3"}, "nothing was audited"),
        ({"dependencies": [{"name": "boto3", "version": "1", "vulns": []}]}, {"boto3", "pyjwt"}, "not audited: pyjwt"),
    ],
    ids=["no dependencies", "none found", "all skipped", "one left out"],
)
def test_an_audit_that_left_something_out_fails(report: dict[str, Any], wanted: set[str], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        audit.judge(report, wanted)


@pytest.mark.parametrize("target", ["aws", "local"])
def test_the_bill_of_materials_lists_exactly_what_is_in_the_layer(target: package.Target) -> None:
    layer = package.layer(target)
    bill = json.loads(package.sbom(layer).read_text())
    listed = {(each["name"], each["version"]) for each in bill["components"]}
    inside = [path.name.removesuffix(".dist-info").rpartition("-") for path in (layer / "python").glob("*.dist-info")]
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert {(name.replace("_", "-").lower(), version) for name, _, version in inside} == listed
    assert all(each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}" for each in bill["components"])
    wheels = {each["name"]: each["externalReferences"] for each in bill["components"]}
    assert all(len(from_) == 1 and from_[0]["url"].endswith(".whl") and from_[0]["hashes"] for from_ in wheels.values())
    compiled = wheels["pydantic-core"][0]["url"]  # of which there is a wheel for each Python and processor
    assert target == "local" or ("cp313" in compiled and "aarch64" in compiled)


def locked(*names: str) -> dict[str, Any]:
    """A bill as uv writes it of a lock file: every file of each package, whichever would be installed."""
    files = [f"https://example.com/{{}}-1.0-{tags}" for tags in ("py3-none-any.whl", "cp313-cp313-linux_a.linux_b.whl")]
    components = [
        {"name": name, "version": "1.0", "bom-ref": name, "externalReferences": [{"url": url.format(name)} for url in files]}
        for name in names
    ]
    graph = [{"ref": name, "dependsOn": [other for other in names if other != name]} for name in names]
    return {
        "metadata": {"component": {"bom-ref": "us"}},
        "components": components,
        "dependencies": [*graph, {"ref": "us", "dependsOn": names}],
    }


def put(folder: Path, name: str, *tags: str) -> None:
    (folder / f"{name}-1.0.dist-info").mkdir(parents=True)
    (folder / f"{name}-1.0.dist-info" / "WHEEL").write_text("".join(f"Tag: {tag}\n" for tag in tags))


def test_what_is_locked_but_was_not_installed_is_in_no_bill(tmp_path: Path) -> None:
    put(tmp_path, "thing", "cp313-cp313-linux_a", "cp313-cp313-linux_b")
    bill = package.installed(locked("thing", "only-on-windows"), tmp_path)
    (listed,) = bill["components"]
    assert [each["url"] for each in listed["externalReferences"]] == ["https://example.com/thing-1.0-cp313-cp313-linux_a.linux_b.whl"]
    assert bill["dependencies"] == [{"ref": "thing", "dependsOn": []}, {"ref": "us", "dependsOn": ["thing"]}]


@pytest.mark.parametrize(("name", "tag"), [("other", "py3-none-any"), ("thing", "cp312-cp312-linux_a")], ids=["package", "wheel"])
def test_what_was_installed_but_not_locked_stops_the_build(tmp_path: Path, name: str, tag: str) -> None:
    put(tmp_path, name, tag)
    with pytest.raises(SystemExit, match=f"{name} 1.0 was installed from a wheel that is not locked"):
        package.installed(locked("thing"), tmp_path)


def wheel(folder: Path, said: str) -> Path:
    """A package `thing` 1.0 with one module."""
    path = folder / "thing-1.0-py3-none-any.whl"
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing.py", f"said = {said!r}\n")
        for name, text in {**about, "RECORD": "thing.py,,\nthing-1.0.dist-info/RECORD,,\n"}.items():
            archive.writestr(f"thing-1.0.dist-info/{name}", text)
    return path


@pytest.mark.parametrize("target", ["aws", "local"])
def test_a_wheel_that_is_not_the_locked_one_does_not_get_into_the_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: package.Target
) -> None:
    for name, value in {"UV_FIND_LINKS": str(tmp_path), "UV_NO_INDEX": "1", "UV_CACHE_DIR": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    locked = f"thing==1.0 --hash=sha256:{hashlib.sha256(wheel(tmp_path, 'good').read_bytes()).hexdigest()}"
    package.install(target, locked, tmp_path / "layer")
    assert (tmp_path / "layer" / "thing.py").read_text() == "said = 'good'\n"

    shutil.rmtree(tmp_path / "cache")
    wheel(tmp_path, "evil")
    with pytest.raises(SystemExit, match=r"(?i)hash mismatch"):
        package.install(target, locked, tmp_path / "other")
    with pytest.raises(SystemExit, match=r"(?i)hash"):  # nor one that nobody has vouched for
        package.install(target, "thing==1.0", tmp_path / "other")
    assert not (tmp_path / "other" / "thing.py").exists()


def test_no_tracked_file_holds_a_secret() -> None:
    done = subprocess.run([sys.executable, "-m", "infra.secret_scan"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("infra/new.py", 'PASSWORD = "correct-horse-battery"'),
        ("infra/new.py", f'KEY = "{"AKIA" + "IOSFODNN7EXAMPLF"}"'),
        ("tests/new.py", f'KEY = "{"AKIA" + "IOSFODNN7EXAMPLF"}"'),
        ("events/new.json", "-----BEGIN RSA " + "PRIVATE KEY-----"),
    ],
    ids=["a password", "an AWS key", "an AWS key in a test", "a private key in an event"],
)
def test_a_secret_is_found_and_not_repeated(tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(f"\n{line}\n")
    (found,) = secret_scan.scan(tmp_path, [name])
    assert found.startswith(f"  {name}:2: ")
    assert line not in found


def test_every_exception_is_still_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    exceptions = secret_scan.KNOWN
    monkeypatch.setattr(secret_scan, "KNOWN", {})
    found = secret_scan.scan(ROOT, {name for name, _, _ in exceptions})
    assert len(found) == len(exceptions)
