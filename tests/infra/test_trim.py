"""What is left out of the layer is missed by nobody: held to the same libraries, whole, as this test's own environment has them."""

import ast
import hashlib
import io
import re
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointVariantError
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.session import Session

from infra import trim
from infra.package import FUNCTIONS, layer
from infra.package import ROOTS as ROOTS_FILE
from tests.infra.template import NAMES, function

WHOLE = Path(botocore.__file__).parent.parent  # site-packages, of the same lock file
each_service = pytest.mark.parametrize("service", sorted(trim.OPERATIONS))

# What is gone though something kept imports it: only inside functions that we never call.
NEVER_CALLED = {
    ("aws_lambda_powertools.shared.functions", "aws_lambda_powertools.event_handler.openapi.compat"),  # pydantic_to_dict
    ("dateutil.tz.tz", "dateutil.zoneinfo"),  # gettz, of a time zone's name
    ("pydantic._internal._generate_schema", "pydantic.v1"),  # of a type with __get_validators__, as pydantic 1 has it
    ("urllib3", "urllib3.contrib.emscripten"),  # on emscripten
}
ROOTS = {  # SHA-256 of the certificates that https://www.amazontrust.com/repository/ recommends, all of them, for a trust store
    "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",  # Amazon Root CA 1
    "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",  # Amazon Root CA 2
    "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",  # Amazon Root CA 3
    "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",  # Amazon Root CA 4
    "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",  # Starfield Services Root Certificate Authority - G2
}
CALLS: dict[tuple[str, str], tuple[dict[str, Any], int, str]] = {  # service, method: request, and the status and body of a reply
    ("dynamodb", "put_item"): (
        {"TableName": "Log", "Item": {"n": {"N": "1"}, "b": {"BOOL": True}}, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"},
        400,
        '{"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "Item": {"n": {"N": "1"}}, "message": "no"}',
    ),
    ("dynamodb", "update_item"): (
        {"TableName": "Log", "Key": {"k": {"S": "x"}}, "UpdateExpression": "SET a = :a", "ExpressionAttributeValues": {":a": {"N": "1"}}},
        400,
        '{"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException", "message": "slow down"}',
    ),
    ("dynamodb", "query"): (
        {"TableName": "Log", "KeyConditionExpression": "c = :c", "ExpressionAttributeValues": {":c": {"S": "é"}}, "ConsistentRead": True},
        200,
        '{"Items": [{"m": {"M": {"l": {"L": [{"S": "é"}, {"NULL": true}]}}}}], "Count": 1, "LastEvaluatedKey": {"n": {"N": "7"}}}',
    ),
    ("dynamodb", "get_item"): ({"TableName": "Log", "Key": {"k": {"S": "x"}}}, 200, '{"Item": {"k": {"S": "x"}}}'),
    ("dynamodb", "delete_item"): (
        {"TableName": "Log", "Key": {"k": {"S": "x"}}, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"},
        400,
        '{"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "Item": {"n": {"N": "1"}}, "message": "no"}',
    ),
    ("dynamodb", "batch_get_item"): (
        {"RequestItems": {"Log": {"Keys": [{"k": {"S": "x"}}], "ConsistentRead": True}}},
        200,
        '{"Responses": {"Log": [{"k": {"S": "x"}}]}, "UnprocessedKeys": {"Log": {"Keys": [{"k": {"S": "y"}}]}}}',
    ),
    ("secretsmanager", "get_secret_value"): ({"SecretId": "keys"}, 200, '{"SecretString": "{}", "CreatedDate": 1795425121.5}'),
    ("sqs", "send_message_batch"): (
        {"QueueUrl": "https://sqs.eu-central-1.amazonaws.com/1/q", "Entries": [{"Id": "0", "MessageBody": "{}", "MessageGroupId": "demo"}]},
        200,
        '{"Successful": [], "Failed": [{"Id": "0", "Code": "InternalError", "SenderFault": false}]}',
    ),
}


@cache
def packages() -> Path:
    return layer("local") / "python"


@cache
def loader(where: Path) -> Loader:
    return Loader(extra_search_paths=[str(where / "botocore" / "data")], include_default_search_paths=False)


@cache
def session(where: Path) -> Session:
    made = Session()
    made.register_component("data_loader", loader(where))
    made.set_credentials("AKIDEXAMPLE", "secret")
    return made


def both(made: Any) -> tuple[Any, Any]:
    """What a function of the folder makes of the trimmed libraries, and of the whole ones."""
    return made(packages()), made(WHOLE)


# --- modules


def imports(path: Path, module: str) -> Iterator[str]:
    """Whatever a module may import, `from a import b` as `a` and as `a.b`; for the type checker's eyes alone does not count."""
    nodes = [ast.parse(path.read_text())]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    while nodes:
        node: Any = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (source, *(f"{source}.{name.name}" for name in node.names))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
        else:
            nodes += ast.iter_child_nodes(node)


def holds(root: Path, module: str) -> bool:
    path = root.joinpath(*module.split("."))
    return path.is_dir() or path.with_name(f"{path.name}.py").is_file()


def test_what_is_kept_imports_nothing_that_is_gone() -> None:
    ours = {path.name for path in packages().iterdir() if path.is_dir()}
    missed = set()
    for root in (packages(), FUNCTIONS):
        for path in root.rglob("*.py"):
            module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            for name in imports(path, module):
                if name.split(".")[0] in ours and holds(WHOLE, name) and not holds(packages(), name):
                    missed.add((module, name))
    assert missed == NEVER_CALLED


def test_every_licence_and_description_travels_with_its_code() -> None:
    described = list(packages().glob("*.dist-info"))
    assert len(described) >= 10
    for folder in described:
        whole = WHOLE / folder.name
        kept = {path.relative_to(whole) for path in whole.rglob("*") if re.search(r"licen[cs]e|notice|METADATA", path.name, re.IGNORECASE)}
        assert any("METADATA" not in path.name for path in kept), folder.name
        assert all((folder / path).exists() for path in kept), folder.name


# --- service models


def told(shape: Shape | None, known: frozenset[str] = frozenset()) -> Any:
    """Everything that serializing and parsing a shape goes by."""
    if shape is None or shape.name in known:
        return shape and shape.name
    inner = known | {shape.name}
    below = {name: told(member, inner) for name, member in getattr(shape, "members", {}).items()}
    below |= {part: told(getattr(shape, part), inner) for part in ("member", "key", "value") if hasattr(shape, part)}
    return shape.name, shape.type_name, shape.serialization, shape.metadata, getattr(shape, "enum", None), below


def operation(service: str, name: str, where: Path) -> Any:
    model: OperationModel = ServiceModel(loader(where).load_service_model(service, "service-2")).operation_model(name)
    shapes = [told(shape) for shape in (model.input_shape, model.output_shape, *model.error_shapes)]
    facts = ("http", "endpoint", "auth", "auth_type", "deprecated", "request_compression", "http_checksum", "endpoint_discovery")
    return model.name, model.service_model.metadata, [getattr(model, fact, None) for fact in facts], shapes


@pytest.mark.parametrize(("service", "name"), [(service, name) for service, names in trim.OPERATIONS.items() for name in sorted(names)])
def test_an_operation_that_we_may_call_is_described_as_before(service: str, name: str) -> None:
    trimmed, whole = both(lambda where: operation(service, name, where))
    assert trimmed == whole


@each_service
def test_every_error_of_a_service_is_still_known(service: str) -> None:
    trimmed, whole = both(
        lambda where: {
            shape.name: told(shape) for shape in ServiceModel(loader(where).load_service_model(service, "service-2")).error_shapes
        }
    )
    assert whole
    assert trimmed == whole


@each_service
def test_what_we_may_not_call_has_no_model(service: str) -> None:
    assert set(ServiceModel(loader(packages()).load_service_model(service, "service-2")).operation_names) == trim.OPERATIONS[service]


@pytest.mark.parametrize(("service", "method"), CALLS)
def test_a_call_sends_and_understands_the_same_bytes(service: str, method: str) -> None:
    trimmed, whole = both(lambda where: exchanged(service, method, where))
    assert trimmed == whole


def test_every_operation_that_we_may_call_is_among_the_calls_compared() -> None:
    compared = {(service, method.replace("_", "")) for service, method in CALLS}
    assert compared == {(service, name.lower()) for service, names in trim.OPERATIONS.items() for name in names}


def exchanged(service: str, method: str, where: Path) -> Any:
    request, status, body = CALLS[service, method]
    client = session(where).create_client(service, "eu-central-1", config=Config(retries={"total_max_attempts": 1}))
    sent = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        sent.append((request.method, request.url, request.body, {name: request.headers[name] for name in ("X-Amz-Target", "Content-Type")}))
        raw: Any = io.BytesIO(body.encode())
        raw.stream = lambda: iter([raw.read()])
        return AWSResponse(request.url, status, {}, raw)

    client.meta.events.register("before-send", answer)
    try:
        reply = getattr(client, method)(**request)
    except ClientError as error:
        return sent, type(error).__name__, error.response
    return sent, reply


def test_a_query_is_read_page_by_page_as_before() -> None:
    trimmed, whole = both(lambda where: loader(where).load_service_model("dynamodb", "paginators-1")["pagination"]["Query"])
    assert trimmed == whole


# --- endpoints


def regions() -> list[str]:
    return [region for partition in loader(WHOLE).load_data("endpoints")["partitions"] for region in partition["regions"]]


@each_service
def test_every_region_keeps_its_endpoints(service: str) -> None:
    trimmed, whole = both(lambda where: {region: endpoints(service, region, where) for region in [*regions(), "eu-future-1"]})
    assert len(whole) > 30
    assert trimmed == whole


@each_service
def test_every_region_of_a_service_is_still_known(service: str) -> None:
    partitions = Session().get_available_partitions()
    trimmed, whole = both(lambda where: {name: session(where).get_available_regions(service, name) for name in partitions})
    assert len(whole["aws"]) > 20
    assert trimmed == whole


def endpoints(service: str, region: str, where: Path) -> list[str | None]:
    """Of the plain, the FIPS and the dual-stack variant; None where the partition has none."""
    found: list[str | None] = []
    for variant in ({}, {"use_fips_endpoint": True}, {"use_dualstack_endpoint": True}):
        try:
            found.append(session(where).create_client(service, region, config=Config(**variant)).meta.endpoint_url)
        except EndpointVariantError:
            found.append(None)
    return found


# --- who vouches for them


def ours() -> Path:
    return packages().parent / ROOTS_FILE


def authorities(bundle: Path) -> dict[bytes, str]:
    """The certificates of a file, and the organization of each."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    subjects = [dict(part[0] for part in known["subject"]) for known in context.get_ca_certs()]
    organizations = [subject.get("organizationName", "") for subject in subjects]
    return dict(zip(context.get_ca_certs(binary_form=True), organizations, strict=True))


def test_the_roots_that_amazon_recommends_are_trusted() -> None:
    assert {hashlib.sha256(root).hexdigest() for root in authorities(ours())} >= ROOTS


def test_no_root_of_an_authority_that_aws_uses_is_left_out() -> None:
    """Nor will be a new one that comes with an update of botocore."""
    trimmed, whole = authorities(ours()), authorities(WHOLE / "botocore" / "cacert.pem")
    assert trimmed == {root: name for root, name in whole.items() if name.startswith(("Amazon", "DigiCert", "Starfield"))}
    assert len(trimmed) < len(whole) / 5


def test_the_certificates_that_come_with_the_sdk_are_left_as_they_are() -> None:
    theirs, whole = both(lambda where: (where / "botocore" / "cacert.pem").read_bytes())
    assert theirs == whole


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_every_function_on_aws_is_told_where_the_layer_has_its_roots(stage: str) -> None:
    told = {function(stage, name)["Environment"]["Variables"].get("AWS_CA_BUNDLE") for name in NAMES}
    assert told == {f"/opt/{ROOTS_FILE}"}
    assert not [name for name in NAMES if "AWS_CA_BUNDLE" in function("local", name)["Environment"]["Variables"]]


@pytest.mark.parametrize("named", ["ours", "another"])
def test_the_sdk_trusts_the_file_that_aws_ca_bundle_names(named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = str(ours() if named == "ours" else tmp_path / "of-a-proxy.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    client = Session().create_client("sqs", "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    assert client._endpoint.http_session._verify == bundle
