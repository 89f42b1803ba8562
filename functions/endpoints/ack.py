"""GET /message/ack: the caller has read everything up to a message, or everything there is. The mark only moves forward."""

from messaging import edge
from messaging.base.errors import ApiError, Code
from messaging.conversations import inbox, lookup
from messaging.conversations.models import AckQuery
from messaging.people.models import Caller


@edge.endpoint(AckQuery, "query")
def handler(caller: Caller, request: AckQuery, now_ms: int) -> edge.Reply:
    number, msg_id = request.conversation_id, request.msg_id
    device = {"device_sn": request.device_sn} if request.device_sn else {}
    if msg_id:
        caller = caller.confirmed()
        applied, row = inbox.acknowledge(caller.app_id, caller.user_id, number, msg_id, device)
        if applied or ("left_at" not in row and row.get("read_seq", 0) >= msg_id):
            return {"data": True}
    # Without a msg_id, or of a message that the Inbox does not know yet: the log tells what there is.
    found, newest = lookup.find_with_tip(caller, number, now_ms)
    if msg_id > newest.msg_id:
        raise ApiError(Code.UNKNOWN_MESSAGE, f"msg_id: conversation {number} has no message {msg_id} yet")
    if found:
        upto = {"read_seq": msg_id or newest.msg_id}
        lookup.advance(caller, found, upto, **device)
    return {"data": True}
