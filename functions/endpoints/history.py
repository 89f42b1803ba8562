"""GET /message/conversation: a conversation's messages, newest first, page by page without a repeat or a hole."""

from functools import partial
from typing import Any

from messaging import edge
from messaging.base import keys, store
from messaging.conversations import inbox, log, lookup, rules
from messaging.conversations.lookup import Found
from messaging.conversations.models import MAX_PAGE, HistoryQuery, Message, message_view, page_view
from messaging.people.models import Caller


@edge.endpoint(HistoryQuery, "query")
def handler(caller: Caller, request: HistoryQuery, now_ms: int) -> edge.Reply:
    found = lookup.find(caller, request.opposite_id)
    if found is None:
        return {"data": page_view([], 0)}
    start, limit = request.msg_id_start or keys.MAX_ID, min(request.limit, MAX_PAGE)
    reads: list[Any] = [partial(log.page, found.conversation, found.oldest, start, limit, now_ms)]
    if found.conversation.kind == "user":  # the other user's marks tell the status of the caller's messages
        reads.append(partial(store.get, inbox.ref(caller.app_id, request.opposite_id, caller.user_id)))
    (messages, more), *opposite = store.parallel(reads)

    fitting = rules.fitting([message.text_bytes for message in messages])
    more, messages = more or fitting < len(messages), messages[:fitting]
    _mark_fetched(caller, found, messages)
    opposite_marks = rules.marks_of(opposite[0] or {}) if opposite else found.marks
    views = [message_view(message, caller.user_id, found.marks, opposite_marks) for message in messages]
    return {"data": page_view(views, messages[-1].msg_id - 1 if more else 0)}


def _mark_fetched(caller: Caller, found: Found, messages: list[Message]) -> None:
    """Moves `fetched_seq` where the page holds something of somebody else that the caller had not fetched or read."""
    newest = max((message.msg_id for message in messages if message.sender != caller.user_id), default=0)
    if newest > max(found.marks.fetched_seq, found.marks.read_seq):
        inbox.advance(found.conversation, caller.user_id, found.marks, {"fetched_seq": newest})
