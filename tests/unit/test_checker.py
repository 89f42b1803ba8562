"""The checker of histories is checked itself: a good history passes, and each kind of anomaly, made by hand, is found and named."""

from collections.abc import Callable
from copy import deepcopy

import pytest

from messaging.base.errors import Code
from tests.checker import Ask, Seen, View, violations

ALICE, BOB, LOG = 1001, 1002, "alice and bob"
History = tuple[list[Ask], list[View]]


def good() -> History:
    """Alice asks three times, the second one twice; Bob has read the first and joined before all of it."""
    asks = [Ask("one", (LOG,), [(1,)]), Ask("two", (LOG,), [(2,), (2,)], attempts=3), Ask("three", (LOG,), [(3,)], idempotent=False)]
    log = [Seen(3, ALICE, "three"), Seen(2, ALICE, "two"), Seen(1, ALICE, "one")]
    return asks, [View(LOG, BOB, [log[:2], log[2:]], num=2, read=1), View(LOG, ALICE, [log], num=0)]


def test_a_good_history_has_no_violations() -> None:
    assert violations(*good()) == []


def lost(asks: list[Ask], views: list[View]) -> None:
    asks[2].answers.append((4,))


def lost_and_replaced(asks: list[Ask], views: list[View]) -> None:
    for view in views:
        view.pages[0][0] = Seen(3, ALICE, "one")


def doubled(asks: list[Ask], views: list[View]) -> None:
    for view in views:
        view.pages[0].insert(0, Seen(4, ALICE, "two"))
    views[0].num = 3


def doubled_without_a_transaction_id(asks: list[Ask], views: list[View]) -> None:
    for view in views:
        view.pages[0].insert(0, Seen(4, ALICE, "three"))
    views[0].num = 3


def two_answers(asks: list[Ask], views: list[View]) -> None:
    asks[1].answers[1] = (3,)


def a_hole(asks: list[Ask], views: list[View]) -> None:
    for view in views:
        view.pages = [[message for message in page if message.msg_id != 2] for page in view.pages]
    views[0].num = 1


def a_message_below_the_cut(asks: list[Ask], views: list[View]) -> None:
    views[0].after = 1


def a_page_that_repeats(asks: list[Ask], views: list[View]) -> None:
    views[0].pages[1].insert(0, views[0].pages[0][-1])


def a_page_that_skips(asks: list[Ask], views: list[View]) -> None:
    views[0].pages[0].pop()
    views[0].num = 1


def an_empty_page(asks: list[Ask], views: list[View]) -> None:
    views[0].pages.append([])


def disordered(asks: list[Ask], views: list[View]) -> None:
    views[0].pages[0].reverse()


def divided(asks: list[Ask], views: list[View]) -> None:
    views[0].pages[0] = [Seen(3, ALICE, "two"), Seen(2, ALICE, "three")]


def behind(asks: list[Ask], views: list[View]) -> None:
    views[0].pages[0].pop(0)
    views[0].num = 1


def undelivered(asks: list[Ask], views: list[View]) -> None:
    views[0].num = None


def half_delivered(asks: list[Ask], views: list[View]) -> None:
    views[0].delivered = 2


def a_ghost(asks: list[Ask], views: list[View]) -> None:
    views[0].pages, views[0].after, views[0].num = [[]], 3, 0


def miscounted(asks: list[Ask], views: list[View]) -> None:
    views[0].num = 3


def own_messages_counted(asks: list[Ask], views: list[View]) -> None:
    views[1].num = 3


def commands_counted(asks: list[Ask], views: list[View]) -> None:
    for view in views:
        view.pages[0][0] = view.pages[0][0]._replace(counts=False)


def a_phantom(asks: list[Ask], views: list[View]) -> None:
    asks.pop(0)


def refused_and_stored(asks: list[Ask], views: list[View]) -> None:
    asks[0].answers, asks[0].refusals = [], [Code.NOT_A_MEMBER]


ANOMALIES: dict[Callable[[list[Ask], list[View]], None], str] = {
    lost: "lost",
    lost_and_replaced: "lost",
    doubled: "doubled",
    doubled_without_a_transaction_id: "doubled",
    two_answers: "two answers",
    a_hole: "hole",
    a_message_below_the_cut: "hole",
    a_page_that_repeats: "repeated",
    a_page_that_skips: "hole",
    an_empty_page: "empty page",
    disordered: "disordered",
    divided: "divided",
    behind: "behind",
    undelivered: "undelivered",
    half_delivered: "half delivered",
    a_ghost: "ghost",
    miscounted: "miscounted",
    own_messages_counted: "miscounted",
    commands_counted: "miscounted",
    a_phantom: "phantom",
    refused_and_stored: "phantom",
}


@pytest.mark.parametrize("spoil", ANOMALIES, ids=lambda spoil: spoil.__name__)
def test_an_anomaly_is_found_and_named(spoil: Callable[[list[Ask], list[View]], None]) -> None:
    asks, views = deepcopy(good())
    spoil(asks, views)
    found = violations(asks, views)
    assert ANOMALIES[spoil] in {each.partition(":")[0] for each in found}, found


def test_a_request_that_was_cut_short_may_be_there_or_not() -> None:
    asks, views = good()
    asks[0].answers, asks[0].attempts = [], 1
    assert violations(asks, views) == []
    assert violations([*asks, Ask("never stored", (LOG,), refusals=[Code.STORE_FAILED])], views) == []
