"""A message from one user to another in an app of its own, which is gone afterwards."""

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from messaging.base import clock, keys, store
from messaging.base.settings import settings
from messaging.conversations import dedup, inbox
from messaging.people import directory, tokens
from messaging.people.models import USER

APP = re.compile(r"doctor-[0-9a-f]{12}")
ABANDONED_MS = 600_000  # an app that is older belongs to no round trip that is under way
POLL_S = 0.5
TOKEN_S = 300
USERS = (directory.FIRST_ID, directory.FIRST_ID + 1)
TRANSACTION = 1

Call = Callable[[str, dict[str, str], dict[str, Any] | None], dict[str, Any]]  # path, headers, body → envelope


def round_trip(call: Call, wait_s: float) -> tuple[str, float | None]:
    """Why the message was refused (empty: it was not), and after how many seconds it was in both users' lists (None: not in time).

    What did not arrive in time is left for it to arrive; the next `sweep` removes it.
    """
    app_id = f"doctor-{uuid.uuid4().hex[:12]}"
    arrived = None
    try:
        directory.create_app(app_id, clock.now_ms())
        sender, recipient = (directory.create(app_id, "user", clock.now_ms(), number, title="doctor")["entity_id"] for number in USERS)
        headers = {user: _headers(app_id, user) for user in (sender, recipient)}
        body = {"type": 1, "targets": [recipient], "content_type": 0, "content": "round trip", "transaction_id": TRANSACTION}
        reply = call("/message/send", headers[sender], body)
        if reply["code"] != 200:
            arrived = 0.0
            return f"{reply['code']} {reply['message']}", None
        started = time.monotonic()
        while arrived is None and time.monotonic() - started < wait_s:
            lists = [call("/message/unread", headers[user], None) for user in (sender, recipient)]
            if [[entry["num"] for entry in each["data"] or []] for each in lists] == [[0], [1]]:
                arrived = time.monotonic() - started
            else:
                time.sleep(POLL_S)
        return "", arrived
    finally:
        if arrived is not None:
            remove(app_id)


def sweep() -> int:
    """Removes what earlier round trips could not; how many."""
    found = [app["entity"] for app in directory.listed(None, "app") if clock.now_ms() - app["created_at"] > ABANDONED_MS]
    left = [app_id for app_id in found if APP.fullmatch(app_id)]
    for app_id in left:
        remove(app_id)
    return len(left)


def remove(app_id: str) -> None:
    """Everything that a round trip makes; the app last, so that what is cut short is found again."""
    sender, recipient = USERS
    conversation = keys.between(app_id, sender, recipient)
    log: store.Ref = settings().messages_table, {"conversation": conversation.key, "msg_id": 1}
    rows = [inbox.ref(app_id, user, conversation.number_for(user)) for user in USERS]
    people = [directory.ref(app_id, user) for user in (*USERS, directory.ADMINISTRATOR_ID)]
    record = dedup.ref(keys.request(app_id, sender, "send", TRANSACTION))
    for table, key in (log, *rows, record, *people, directory.app_ref(app_id)):
        store.dynamodb().delete_item(TableName=table, Key=store.pack(key))


def _headers(app_id: str, user_id: int) -> dict[str, str]:
    token = tokens.issue(app_id, user_id, USER, TOKEN_S, clock.now_ms())
    return {"app_id": app_id, "access-token": token, "content-type": "application/json"}
