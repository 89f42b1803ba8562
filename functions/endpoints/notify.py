"""POST|PUT /message/notify: a system message, for administrators. Without `from_user_id` it comes from user 0, the system."""

from messaging import edge
from messaging.conversations import posting
from messaging.conversations.models import SendRequest
from messaging.people.models import Caller


@edge.endpoint(SendRequest, "body", admin_only=True, checks_user=False)
def handler(caller: Caller, request: SendRequest, now_ms: int) -> edge.Reply:
    sender = request.from_user_id or posting.SYSTEM
    return {"data": True, "msg_ids": posting.post(caller, request, "notify", sender, now_ms)}
