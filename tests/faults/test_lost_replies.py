"""A write takes effect, its reply is lost, and the SDK repeats it: nothing is done twice, and nobody is told that it failed."""

from tests.faults.sdk import lost_reply, tampered
from tests.world import World


def test_creating_a_user_creates_one(world: World) -> None:
    before = len(world.rows("Directory"))
    with tampered(lost_reply):
        world.user("alice")
    assert len(world.rows("Directory")) == before + 1


def test_creating_a_user_under_a_number_of_ones_own_succeeds(world: World) -> None:
    with tampered(lost_reply):
        assert world.user("alice", number=77) == 77


def test_creating_an_app_succeeds(world: World) -> None:
    with tampered(lost_reply):
        assert world.app("other") == "other"
