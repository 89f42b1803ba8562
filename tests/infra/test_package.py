"""What is uploaded: small enough, complete, and with bytecode that its Python takes."""

import _imp  # importlib.util.source_hash knows the Python that runs it only
import importlib.util
import io
import json
import re
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

from tests.infra.template import NAMES, ROWS, function, only
from tests.synthesized import KEPT, STAGES, _fingerprint, template

GOAL_BYTES = 6_000_000  # zipped, both together and with bytecode: what a cold start has to fetch
UNZIPPED_BYTES = 250 * 1024**2  # function and layers together, AWS quota
ZIPPED_BYTES = 50 * 1024**2  # a direct upload, AWS quota; what goes through S3, as ours does, may be larger
MAGIC = {"local": importlib.util.MAGIC_NUMBER, "aws": (3571).to_bytes(2, "little") + b"\r\n"}  # 3571: Python 3.13
TAG = {"local": sys.implementation.cache_tag, "aws": "cpython-313"}
UNCHECKED_HASH = 1  # flags of a .pyc that is taken without a look at the source's date
AARCH64 = 183  # e_machine of an ELF file

TARGETS = {"local": "local", "dev": "aws", "prod": "aws"}  # of each stage
each_stage = pytest.mark.parametrize("stage", STAGES)


def staged(stage: str, s3_key: str) -> Path:
    """The folder that is uploaded under this key."""
    template(stage)
    return KEPT / _fingerprint() / stage / f"asset.{s3_key.removesuffix('.zip')}"


def asset(stage: str) -> Path:
    """The functions' code, one for all."""
    (key,) = {function(stage, name)["Code"]["S3Key"] for name in NAMES}
    return staged(stage, key)


def layer(stage: str) -> Path:
    return staged(stage, only(stage, "AWS::Lambda::LayerVersion")["Content"]["S3Key"])


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@cache
def zipped(folder: Path) -> int:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in files(folder):
            archive.write(path, path.relative_to(folder))
    return buffer.tell()


@each_stage
def test_code_and_layer_fit_into_lambda(stage: str) -> None:
    sizes = {folder: sum(path.stat().st_size for path in files(folder)) for folder in (asset(stage), layer(stage))}
    assert all(sizes.values())
    assert sum(sizes.values()) <= UNZIPPED_BYTES
    assert all(zipped(folder) <= ZIPPED_BYTES for folder in sizes)


@each_stage
def test_code_and_layer_are_quick_to_fetch(stage: str) -> None:
    assert zipped(asset(stage)) + zipped(layer(stage)) <= GOAL_BYTES


@each_stage
def test_the_asset_holds_every_handler_and_the_layer_lies_where_lambda_looks(stage: str) -> None:
    assert all((asset(stage) / f"{row.module.replace('.', '/')}.py").is_file() for row in ROWS.values())
    assert sorted(path.name for path in layer(stage).iterdir()) == ["python", "roots.pem"]
    assert (layer(stage) / "python" / "boto3" / "__init__.py").is_file()


@each_stage
def test_bytecode_is_for_the_python_that_runs_it_and_never_stale(stage: str) -> None:
    target = TARGETS[stage]
    for folder in (asset(stage), layer(stage)):
        sources = {path for path in files(folder) if path.suffix == ".py"}
        compiled = {path for path in files(folder) if path.suffix == ".pyc"}
        assert sources
        for path in compiled:
            head = path.read_bytes()[:16]
            assert re.fullmatch(rf".+\.{TAG[target]}\.pyc", path.name), path
            assert head[:4] == MAGIC[target], path
            assert int.from_bytes(head[4:8], "little") == UNCHECKED_HASH, path
            source = (path.parent.parent / f"{path.name.split('.')[0]}.py").read_bytes()
            assert head[8:] == _imp.source_hash(int.from_bytes(MAGIC[target], "little"), source), path
        # All of it or, on a machine without Lambda's Python, none.
        assert len(compiled) in ((len(sources),) if target == "local" else (len(sources), 0))


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_what_is_compiled_in_the_layer_is_for_python_3_13_on_arm64(stage: str) -> None:
    libraries = [path for path in files(layer(stage)) if ".so" in path.suffixes]
    assert libraries
    for path in libraries:
        head = path.read_bytes()[:20]
        assert head[:4] == b"\x7fELF"
        assert int.from_bytes(head[18:20], "little") == AARCH64, path
        assert "cpython-313" in path.name or "abi3" in path.name, path


@each_stage
def test_no_test_tool_and_no_second_sdk_is_uploaded(stage: str) -> None:
    packages = {path.name.lower() for path in (layer(stage) / "python").iterdir()}
    assert not packages & {"moto", "pytest", "mypy", "aws_cdk", "ministack", "hypothesis", "aws_xray_sdk", "cryptography", "bin"}
    assert {"boto3", "botocore", "pydantic", "jwt", "aws_lambda_powertools"} <= packages


def test_every_handler_starts_on_the_asset_and_the_layer_alone() -> None:
    """The local layer holds the same packages as the other, built for the Python that runs this test."""
    script = f"""
import importlib, json, sys
sys.path[:0] = [{str(asset("local"))!r}, {str(layer("local") / "python")!r}]
import boto3
for service in ("dynamodb", "sqs", "secretsmanager"):
    boto3.client(service, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
handlers = [importlib.import_module(module).handler for module in {[row.module for row in ROWS.values()]!r}]
print(json.dumps([callable(handler) for handler in handlers]))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True] * len(NAMES)
