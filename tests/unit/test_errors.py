"""The code table."""

import pytest

from messaging.base.errors import ApiError, Code


@pytest.mark.parametrize(("code", "status"), [(Code.STORE_FAILED, 503), (Code.INTERNAL, 500), (Code.TOO_MANY_REQUESTS, 429)])
def test_a_fault_of_ours_or_of_the_load_has_an_http_status(code: Code, status: int) -> None:
    assert ApiError(code, "why").status == status


def test_every_other_refusal_is_http_200() -> None:
    others = set(Code) - {Code.STORE_FAILED, Code.INTERNAL, Code.TOO_MANY_REQUESTS}
    assert {ApiError(code, "why").status for code in others} == {200}


def test_a_refusal_may_name_its_own_http_status() -> None:
    assert ApiError(Code.MESSAGE_TOO_LARGE, "body", status=413).status == 413
