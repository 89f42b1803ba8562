"""Who belongs to which group. The caller's own Inbox row of the group is the membership; the Directory lists the members for fan-out.

Joining makes the row, then lists the member; leaving ends the listing, then the row. So whoever belongs at the end is listed, however
joins and leaves meet, and a listing without a row is passed over. Whatever was cut short is completed by repeating it.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.keys import Conversation
from messaging.base.settings import settings
from messaging.conversations import inbox, log
from messaging.conversations.log import Tip
from messaging.conversations.rules import Marks
from messaging.people import directory

MAX_MEMBERS = 10_000
CHUNK = 100  # members between two reports of progress

Progress = Callable[[int], None]  # is told how many more members are done


def create(
    app_id: str, owner: int, members: Sequence[int], history_visible: bool, now_ms: int, number: int | None, progress: Progress
) -> int:
    """A group of `owner` and `members`; ApiError UNKNOWN_USER, USER_EXISTS, TOO_MANY_MEMBERS with nothing created."""
    everybody = sorted({owner, *members})
    _require_room(len(everybody))
    _require_users(app_id, everybody)
    profile = directory.create(app_id, "group", now_ms, number, owner_id=owner, history_visible=history_visible)
    group_id: int = profile["entity_id"]
    join(app_id, group_id, everybody, now_ms, progress)
    return group_id


def join(app_id: str, group_id: int, users: Iterable[int], now_ms: int, progress: Progress) -> list[int]:
    """Makes users members from now on; returns those who were not. Repeating it is harmless and completes one that was cut short.

    ApiError UNKNOWN_GROUP, UNKNOWN_USER, TOO_MANY_MEMBERS with nothing changed.
    """
    conversation, users = keys.group(app_id, group_id), sorted(set(users))
    profile = directory.require(app_id, group_id, "group", "group")
    _require_users(app_id, users)
    present = directory.members(app_id, group_id)
    members = len({*present, *users})
    _require_room(members)
    large = members > settings().push_limit_members
    if large and not profile.get("crossing"):
        _flag_profile(conversation, "crossing")
        profile["crossing"] = True

    before = log.tip(conversation, now_ms)
    joined = []
    for chunk in _chunks(users):
        outcomes = store.parallel([partial(_enter, conversation, user, profile, before) for user in chunk])
        joined += [user for user, entered in zip(chunk, outcomes, strict=True) if entered]
        progress(len(chunk))
    # What was sent before a member was listed is in nobody's job for them: their marks start from where the log is now. So do those of
    # a row that was there already: the join that made it may have been cut short before it came to this.
    after = log.tip(conversation, now_ms)
    behind = users if after.msg_id > before.msg_id else sorted(set(users).difference(joined))
    missed = _newest(after)
    for chunk in _chunks(behind):
        store.parallel([partial(inbox.advance, conversation, user, Marks(), missed) for user in chunk])
    _finish_crossing(conversation, users, large)
    return joined


def leave(app_id: str, group_id: int, users: Iterable[int], now_ms: int, progress: Progress) -> None:
    """Ends memberships; ApiError UNKNOWN_GROUP, NOT_A_MEMBER with nothing changed."""
    conversation, users = keys.group(app_id, group_id), sorted(set(users))
    directory.require(app_id, group_id, "group", "group")
    rows = store.get_many([inbox.ref(app_id, user, group_id) for user in users])
    listed = directory.members(app_id, group_id)
    strangers = [user for user, row in zip(users, rows, strict=True) if not inbox.belongs(row) and user not in listed]
    if strangers:
        raise ApiError(Code.NOT_A_MEMBER, f"member: not in group {group_id}: {', '.join(map(str, strangers))}")
    for chunk in _chunks(users):
        store.parallel([partial(end, conversation, user, now_ms) for user in chunk])
        progress(len(chunk))


def transfer(app_id: str, group_id: int, to: int) -> None:
    """Makes a member the owner; who was it stays a member. ApiError UNKNOWN_GROUP, NOT_A_MEMBER with nothing changed."""
    directory.require(app_id, group_id, "group", "group")
    if not inbox.belongs(store.get(inbox.ref(app_id, to, group_id))):
        raise ApiError(Code.NOT_A_MEMBER, f"to: user {to} is not in group {group_id}")
    store.update(directory.ref(app_id, group_id), {"owner_id": to}, "attribute_exists(entity)")


def listing(app_id: str, user: int, groups: Sequence[int]) -> list[int]:
    """Those of the groups that list the user as a member: whom they fan out to, whether or not there is a row."""
    found = store.get_many([(settings().directory_table, _listing(keys.group(app_id, group), user)) for group in groups])
    return [group for group, item in zip(groups, found, strict=True) if item]


def _enter(conversation: Conversation, user: int, profile: store.Item, newest: Tip) -> bool:
    """Makes the row, new or once more, then lists the member; False where the user belonged already."""
    condition = "attribute_not_exists(reader) OR (attribute_exists(left_at) AND last_seq <= :last_seq)"
    outcome = store.update(_row(conversation, user), _fresh(profile, newest), condition, remove="left_at")
    if not outcome.applied and not inbox.belongs(outcome.item):  # in and out again since the newest number was read
        raise ApiError(Code.STORE_FAILED, f"member: user {user} is joining and leaving at the same time, try again")
    store.dynamodb().put_item(TableName=settings().directory_table, Item=store.pack(_listing(conversation, user)))
    return outcome.applied


def _fresh(profile: store.Item, newest: Tip) -> dict[str, object]:
    """The row of a member from now on."""
    row = {"chat": "group", "join_seq": newest.msg_id, "last_seq": newest.msg_id, "last_at": newest.sent_at}
    return row | {name: True for name, flag in (("history_visible", "history_visible"), ("by_head", "crossing")) if profile.get(flag)}


def restore(conversation: Conversation, user: int, now_ms: int) -> bool:
    """Makes the row of a listed member anew where it was lost; False where there is one, or the member has left meanwhile.

    Since when the member belonged is lost with the row: from now on is what never shows what was not meant for them.
    """
    profile = directory.require(conversation.app_id, conversation.low, "group", "group")
    before = log.tip(conversation, now_ms)
    if not store.update(_row(conversation, user), _fresh(profile, before), "attribute_not_exists(reader)").applied:
        return False
    listing: store.Ref = settings().directory_table, _listing(conversation, user)
    if not store.get(listing):  # leaving has ended the listing, and found no row to end
        store.update(_row(conversation, user), {"left_at": now_ms}, inbox.BELONGS)
        return False
    newest = log.tip(conversation, now_ms)
    if newest.msg_id > before.msg_id:  # as after joining
        inbox.advance(conversation, user, Marks(), _newest(newest))
    _finish_crossing(conversation, [user], False)
    return True


def end(conversation: Conversation, user: int, now_ms: int) -> None:
    """Ends one membership as far as there is one, whatever is left of the group itself. Repeating it is harmless."""
    store.dynamodb().delete_item(TableName=settings().directory_table, Key=store.pack(_listing(conversation, user)))
    store.update(_row(conversation, user), {"left_at": now_ms}, inbox.BELONGS)


def _finish_crossing(conversation: Conversation, users: list[int], large: bool) -> None:
    """Lets a group that has grown past the limit be read by its head, for good.

    From `crossing` on, joining makes flagged rows. Then every other row is flagged, by whoever crosses, or by the join that made it and
    now finds the group crossing. Only then the writes to rows stop: a row is written, or its reader knows to look at the head.
    """
    profile = directory.require(conversation.app_id, conversation.low, "group", "group")
    if profile.get("crossing"):
        _flag_rows(conversation, users)
    if large and not profile.get("by_head"):
        _flag_rows(conversation, sorted(set(directory.members(conversation.app_id, conversation.low)).difference(users)))
        _flag_profile(conversation, "by_head")


def _flag_profile(conversation: Conversation, name: str) -> None:
    store.update(directory.ref(conversation.app_id, conversation.low), {name: True}, "attribute_exists(entity)")


def _flag_rows(conversation: Conversation, users: list[int]) -> None:
    for chunk in _chunks(users):
        store.parallel([partial(_flag_row, conversation, user) for user in chunk])


def _flag_row(conversation: Conversation, user: int) -> None:
    store.update(_row(conversation, user), {"by_head": True}, "attribute_exists(reader) AND attribute_not_exists(by_head)")


def _newest(tip: Tip) -> dict[str, int]:
    """The marks of a row that nobody can tell the messages in between of, own ones among them: they are counted in the log."""
    return {"last_seq": tip.msg_id, "last_at": tip.sent_at, "skip_seq": tip.msg_id, "count_seq": tip.msg_id}


def _row(conversation: Conversation, user: int) -> store.Ref:
    return inbox.ref(conversation.app_id, user, conversation.low)


def _listing(conversation: Conversation, user: int) -> dict[str, str | int]:
    return {"entity": keys.entity(conversation.app_id, conversation.low), "facet": keys.member(user)}


def _require_room(members: int) -> None:
    if members > MAX_MEMBERS:
        raise ApiError(Code.TOO_MANY_MEMBERS, f"member: a group has at most {MAX_MEMBERS} members, this would make {members}")


def _require_users(app_id: str, users: list[int]) -> None:
    profiles = store.get_many([directory.ref(app_id, user) for user in users])
    unknown = [user for user, item in zip(users, profiles, strict=True) if not item or item["what"] != "user"]
    if unknown:
        raise directory.missing("user", "member", unknown)


def _chunks(users: list[int]) -> list[list[int]]:
    return [users[at : at + CHUNK] for at in range(0, len(users), CHUNK)]
