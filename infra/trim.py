"""What is left out of the dependency layer: whatever no function reads costs every cold start time and every deployment bytes.

Explicit lists, and each is held to by `tests/infra/test_trim.py`: what is kept imports nothing that is gone, the service models say
the same of what our roles may call, every region keeps its endpoint. An update of a library that breaks one of them breaks the build.
"""

import gzip
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from infra.catalog import FUNCTIONS, WITH_RETENTION

Json = dict[str, Any]

UNUSED = (
    "bin",
    "aws_lambda_powertools/metrics/provider/datadog",
    "**/*.pyi",
    "**/py.typed",
    # Of a distribution's description, what installers read. METADATA, licences and bills of material stay: scanners and lawyers do.
    *(f"*.dist-info/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "WHEEL", "top_level.txt", "zip-safe")),
    "boto3/crt.py",  # for uploads to S3, as is the next
    "boto3/s3",
    "boto3/data",  # of resources, its second interface
    "boto3/examples",
    "dateutil/zoneinfo",  # time zones by name
    "pydantic/experimental",
    "pydantic/mypy.py",
    "pydantic/v1",  # the whole of pydantic 1, for who still calls it
    "urllib3/contrib/emscripten",
)
# Of Powertools, beside `__init__`, what is imported with its logger; of its 20 utilities one.
POWERTOOLS = ("exceptions", "logging", "metrics", "shared", "tracing", "warnings", "utilities", "package_logger.py")
UTILITIES = ("jmespath_utils",)
BOTOCORE_DATA = ("_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json")
# boto3 imports all of s3transfer at its start, for one look at this class: 15 ms of CPU, for uploads to S3 alone.
S3TRANSFER = '''"""In place of s3transfer: what boto3 asks of it where nothing is uploaded to S3."""


class TransferConfig:
    pass
'''
OPERATIONS = {  # what our roles may call, of each service: IAM refuses all others, so that no model of them is needed
    "dynamodb": {
        action
        for grants in (*(row.tables for row in FUNCTIONS), *WITH_RETENTION.values())
        for actions in grants.values()
        for action in actions
    },
    "secretsmanager": {"GetSecretValue"},
    "sqs": {"SendMessageBatch"},
}
# Who vouches for AWS's endpoints: the five roots that https://www.amazontrust.com/repository/ recommends for trust stores, and the rest
# of the authorities that vouched for some endpoints before them. urllib3 reads the file again for every new connection
# (https://github.com/urllib3/urllib3/issues/3623): all 127 roots take 13 ms of CPU each time, these 15 take 1.6. AWS_CA_BUNDLE of the
# functions names the file of these; for a proxy or an endpoint with roots of its own it may name another.
ROOTS_OF = ("Amazon", "DigiCert Inc", "Starfield Technologies, Inc.")


def trim(packages: Path) -> None:
    """Trims a folder that dependencies were just installed to; raises where it does not find what it knows."""
    for pattern in UNUSED:
        for path in list(packages.glob(pattern)):
            _remove(path)
    _keep_only(packages / "aws_lambda_powertools", POWERTOOLS)
    _keep_only(packages / "aws_lambda_powertools" / "utilities", UTILITIES)
    _keep_only(packages / "s3transfer", ())
    (packages / "s3transfer" / "__init__.py").write_text("")
    (packages / "s3transfer" / "manager.py").write_text(S3TRANSFER)
    data = packages / "botocore" / "data"
    _keep_only(data, (*OPERATIONS, *BOTOCORE_DATA))
    for service, operations in OPERATIONS.items():
        for version in list((data / service).iterdir()):
            _trim_service(version, operations)
    _trim_endpoints(data / "endpoints.json")


def _keep_only(folder: Path, names: Iterable[str]) -> None:
    for path in list(folder.iterdir()):
        if path.name not in ("__init__.py", *names):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _trim_service(version: Path, operations: set[str]) -> None:
    """One API version of a service: nothing is left of one without a model (dynamodb/2011-12-05)."""
    packed = version / "service-2.json.gz"
    if not packed.exists():
        return shutil.rmtree(version)
    model = json.loads(gzip.decompress(packed.read_bytes()))
    # Sorted: the same bytes, and so the same layer, from every build.
    model["operations"] = {name: model["operations"][name] for name in sorted(operations)}
    model["shapes"] = _reached(model)
    _write(version / "service-2.json", _undocumented(model))
    packed.unlink()

    # Unpacked, as the model is: the layer is packed as a whole.
    rules = version / "endpoint-rule-set-1.json.gz"
    _write(version / "endpoint-rule-set-1.json", json.loads(gzip.decompress(rules.read_bytes())))
    rules.unlink()

    paginators = json.loads((version / "paginators-1.json").read_text())
    paginators["pagination"] = {name: how for name, how in paginators["pagination"].items() if name in operations}
    _write(version / "paginators-1.json", paginators)
    for spare in ("examples-1.json", "waiters-2.json"):
        (version / spare).unlink(missing_ok=True)


def _reached(model: Json) -> Json:
    """The shapes that the operations refer to, and every error, so that whatever a service answers is understood as before."""
    shapes = model["shapes"]
    reached: set[str] = set()
    ahead = {*_references(model["operations"]), *(name for name, shape in shapes.items() if shape.get("exception"))}
    while ahead:
        reached |= ahead
        ahead = {name for shape in ahead for name in _references(shapes[shape])} - reached
    return {name: shape for name, shape in shapes.items() if name in reached}


def _references(value: Any) -> Iterator[str]:
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if key == "shape" and isinstance(below, str):
            yield below
        else:
            yield from _references(below)


def _undocumented(value: Any) -> Any:
    """Without the documentation, which is always a string: what else is called so is a member of a shape."""
    if isinstance(value, list):
        return [_undocumented(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: _undocumented(each) for key, each in value.items() if key != "documentation" or not isinstance(each, str)}


def _trim_endpoints(path: Path) -> None:
    """Every partition and region stays, of the 400 services those that we call."""
    endpoints = json.loads(path.read_text())
    for partition in endpoints["partitions"]:
        partition["services"] = {name: where for name, where in partition["services"].items() if name in OPERATIONS}
    _write(path, endpoints)


def roots(packages: Path) -> str:
    """Of the certificates that come with botocore, those that vouch for AWS's endpoints; SystemExit where one of their owners is gone."""
    certificates = re.findall(r"# Issuer: .*?-----END CERTIFICATE-----\n", (packages / "botocore/cacert.pem").read_text(), re.DOTALL)
    subjects = {name: re.compile(rf"^# Subject: .*\bO={re.escape(name)}( OU=.*)?$", re.MULTILINE) for name in ROOTS_OF}
    kept = {name: [each for each in certificates if subject.search(each)] for name, subject in subjects.items()}
    if missing := [name for name, roots in kept.items() if not roots]:
        raise SystemExit(f"botocore's cacert.pem holds no root of {', '.join(missing)}")
    return "\n".join(root for roots in kept.values() for root in roots)


def _write(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")))
