"""The deployed API against its own document: whatever fits docs/openapi.json or does not, the reply is one that it describes."""

import copy
import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging.base.errors import Code
from messaging.conversations import membership
from messaging.people import directory, tokens
from messaging.people.models import ADMIN, USER
from ops.openapi import PATH
from tests.e2e.conftest import Api

if TYPE_CHECKING:
    from schemathesis import Case, CheckContext, Response

EXAMPLES = 25  # requests per route, valid or not
GENERATION = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
)
ROUTES = [(verb, path) for path, operations in json.loads(PATH.read_text())["paths"].items() for verb in operations]
NUMBERS = ("opposite_id", "conversation_id")


@dataclass
class App:
    """An app of this test's own, with the users and the group that the document's examples name."""

    app_id: str
    alice: int
    bob: int
    token: str
    admin: str

    def headers(self, path: str) -> dict[str, str]:
        return {"app_id": self.app_id, "access-token": self.admin if path == "/message/notify" else self.token}


@pytest.fixture(scope="module")
def app(api: Api) -> App:
    now_ms, app_id = time.time_ns() // 1_000_000, f"openapi-{uuid.uuid4().hex[:12]}"
    admin = directory.create_app(app_id, now_ms)["admin_id"]
    alice, bob = (directory.create(app_id, "user", now_ms, title="test")["entity_id"] for _ in range(2))
    membership.create(app_id, alice, [alice, bob], False, now_ms, 1005, lambda done: None)
    issued = [tokens.issue(app_id, user_id, role, 3600, now_ms) for user_id, role in ((alice, USER), (admin, ADMIN))]
    return App(app_id, alice, bob, *issued)


def _refused(ctx: "CheckContext", response: "Response", case: "Case") -> None:
    """What does not fit the document is refused. Our refusals are told by `code`, so that is what the library's check gets to see."""
    from schemathesis.checks import negative_data_rejection

    given = {name.lower(): value for name, value in (case.headers or {}).items()}
    if "authorization" in given or {given.get(name, "absent") for name in ("user_id", "group_id")} & {"", None}:
        return  # beside an access-token the one does not count, and the others count as absent where they are empty
    told = copy.copy(response)
    told.status_code = 200 if response.json().get("code") == Code.OK else 400
    negative_data_rejection(ctx, told, case)


def _as_oneself(case: "Case", headers: dict[str, str]) -> "Case":
    """Without the ids of nobody that valid headers name: with them hardly any request gets past the checks of who calls."""
    from schemathesis.core.parameters import ParameterLocation

    if not case.meta.is_negative_at(ParameterLocation.HEADER):
        case.headers = dict(headers)
    return case


def _aimed(case: "Case", app: App) -> "Case":
    """A valid request to somebody who exists."""
    if isinstance(case.body, dict):
        case.body = {**case.body, "type": 1, "targets": [app.bob, str(app.bob)], "content": case.body.get("content") or "hi"}
        case.body.pop("from_user_id", None)
    case.query = {name: app.bob if name in NUMBERS else value for name, value in (case.query or {}).items()}
    return case


@pytest.mark.parametrize("valid", [True, False], ids=["valid", "invalid"])
@pytest.mark.parametrize(("verb", "path"), ROUTES)
def test_every_reply_is_one_of_the_document(api: Api, app: App, verb: str, path: str, valid: bool) -> None:
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    described = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]
    operation = schemathesis.openapi.from_path(PATH)[path][verb]
    mode = GenerationMode.POSITIVE if valid else GenerationMode.NEGATIVE
    headers, codes = app.headers(path), list[int]()

    @GENERATION
    @given(operation.as_strategy(generation_mode=mode, headers=headers), st.sampled_from([True, True, False]))
    def ask(case: Any, helped: bool) -> None:
        if helped:
            case = _as_oneself(case, headers)
            case = _aimed(case, app) if valid else case
        response = case.call_and_validate(base_url=api.info["api_url"], checks=described, additional_checks=[] if valid else [_refused])
        codes.append(response.json()["code"])

    ask()
    assert len(codes) >= EXAMPLES / 2
    assert not valid or Code.OK in codes
