"""POST|PUT /message/send: a message to users or to groups. Answered with 200: durable, and in history from that moment."""

from messaging import edge
from messaging.base.errors import ApiError, Code
from messaging.conversations import posting
from messaging.conversations.models import SendRequest
from messaging.people.models import Caller


@edge.endpoint(SendRequest, "body", checks_user=False)
def handler(caller: Caller, request: SendRequest, now_ms: int) -> edge.Reply:
    sender = request.from_user_id or caller.user_id
    if sender != caller.user_id and not caller.is_admin:
        raise ApiError(Code.NO_PERMISSION, "from_user_id: a user sends as itself only")
    return {"data": True, "msg_ids": posting.post(caller, request, "send", sender, now_ms)}
