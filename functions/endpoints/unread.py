"""GET /message/unread: the caller's conversations, newest activity first, each with its exact unread number."""

from functools import partial

from messaging import edge
from messaging.base import store
from messaging.base.settings import settings
from messaging.conversations import log, lookup, rules
from messaging.conversations.lookup import Found
from messaging.conversations.models import MAX_CONVERSATIONS, UnreadQuery, conversation_view
from messaging.people.models import Caller


@edge.endpoint(UnreadQuery, "query")
def handler(caller: Caller, request: UnreadQuery, now_ms: int) -> edge.Reply:
    listed = [found for found in lookup.all_of(caller) if _holds_a_message(found, now_ms)]
    listed.sort(key=_activity, reverse=True)
    if request.cursor:
        after = tuple(map(int, request.cursor.split("-")))
        listed = [found for found in listed if _activity(found) < after]
    limit = min(request.limit, MAX_CONVERSATIONS)
    page = listed[:limit]
    nums = store.parallel([partial(_num, caller.user_id, found, now_ms) for found in page])
    data = [conversation_view(found.number, num) for found, num in zip(page, nums, strict=True)]
    more = len(listed) > limit
    return {"data": data, "next_cursor": "-".join(map(str, _activity(page[-1]))) if more else None}


def _activity(found: Found) -> tuple[int, int]:
    """When the newest message was sent; then the number, so that no two conversations are at the same place."""
    return found.marks.last_at, found.number


def _holds_a_message(found: Found, now_ms: int) -> bool:
    """Whether there is a message that the caller may see."""
    return found.marks.last_seq >= found.oldest and not log.expired(found.marks.last_at, now_ms)


def _num(user_id: int, found: Found, now_ms: int) -> int:
    num = rules.unread(found.marks)
    if num == 0 or (num and not settings().retention_s):  # some of them may have expired
        return num
    return log.count(found.conversation, found.marks.floor, user_id, now_ms)
