"""What the tests of the endpoints share."""

import pytest

pytest.register_assert_rewrite("tests.endpoints.refusals")
