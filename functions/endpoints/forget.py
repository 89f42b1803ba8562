"""DELETE /message/conversation: the caller, alone, no longer sees the conversation up to now. The other side keeps everything."""

from messaging import edge
from messaging.conversations import lookup
from messaging.conversations.models import DeleteQuery
from messaging.people.models import Caller


@edge.endpoint(DeleteQuery, "query")
def handler(caller: Caller, request: DeleteQuery, now_ms: int) -> edge.Reply:
    found, newest = lookup.find_with_tip(caller, request.conversation_id, now_ms)
    if found:
        upto = {"cut_seq": newest.msg_id, "read_seq": newest.msg_id}
        lookup.advance(caller, found, upto)
    return {"data": True}
