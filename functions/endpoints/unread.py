"""GET /message/unread: the caller's conversations, newest activity first, each with its exact unread number."""

import hashlib
from collections.abc import Iterable

from messaging import edge
from messaging.conversations import log, lookup, tallies
from messaging.conversations.lookup import Entry
from messaging.conversations.models import MAX_CONVERSATIONS, UnreadQuery, conversation_view
from messaging.people.models import Caller


@edge.endpoint(UnreadQuery, "query")
def handler(caller: Caller, request: UnreadQuery, now_ms: int) -> edge.Reply:
    """`list_changed`: what comes after the cursor is not all that the pages before have not told; the first one has to be read again."""
    until = tallies.deadline()
    listed = [entry for entry in lookup.all_of(caller) if _holds_a_message(entry, now_ms)]
    listed.sort(key=lambda entry: entry.activity, reverse=True)
    first, changed = 0, False
    if request.cursor:
        at, number, *told = request.cursor.split("-")
        first = sum(entry.activity >= (int(at), int(number)) for entry in listed)
        changed = bool(told) and told != [_check(listed[:first])]
    end = first + min(request.limit, MAX_CONVERSATIONS)
    page = [lookup.opened(caller, entry) for entry in listed[first:end]]
    nums = tallies.numbers(caller.app_id, caller.user_id, page, now_ms, until)
    data = [conversation_view(found.number, num) for found, num in zip(page, nums, strict=True)]
    cursor = f"{listed[end - 1].last_at}-{listed[end - 1].number}-{_check(listed[:end])}" if len(listed) > end else None
    return {"data": data, "next_cursor": cursor} | ({"list_changed": True} if changed else {})


def _check(told: Iterable[Entry]) -> str:
    """Which conversations these are: equal exactly for the same ones."""
    numbers = sorted(entry.number for entry in told)
    return hashlib.sha256(repr(numbers).encode()).hexdigest()[:16]


def _holds_a_message(entry: Entry, now_ms: int) -> bool:
    """Whether there is a message that the caller may see."""
    return entry.last_seq >= entry.oldest and not log.expired(entry.last_at, now_ms)
