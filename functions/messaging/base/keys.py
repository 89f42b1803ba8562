"""The access patterns, and every key that is ever built.

| Question                                    | Table     | Partition key            | Sort key            |
|---------------------------------------------|-----------|--------------------------|---------------------|
| append, newest, page, count                 | Messages  | conversation (the log)   | msg_id              |
| a user's conversations; one user's marks    | Inbox     | app # user               | conversation number |
| was this transaction_id seen, which slots   | Dedup     | app # sender # op # id   |                     |
| how busy is this sender (0: the app's own)  | Dedup     | app # user               |                     |
| does this app exist, who is revoked         | Directory | app                      | profile             |
| does this user or group exist; group's head | Directory | app # number             | profile             |
| members of a group                          | Directory | app # group              | member # user       |
| everybody of an app, spread over partitions | Directory (index `listing`) | app # kind # shard | number    |

`app_id` and a `transaction_id` have no `#` in them and every other part is a number or one of our own words, so no two apps, kinds or ids
build the same key. A `transaction_id` that spells an integer is that integer (`wire.transaction_id`), so no two of those do either.
"""

from typing import Literal, NamedTuple

Kind = Literal["user", "group", "system"]  # of a conversation: one-to-one, group, from the system
APP_ID = r"[A-Za-z0-9_-]{1,64}"
MAX_ID = 2**53 - 1  # the largest integer that a JavaScript client reads without losing a digit
LISTING_SHARDS = 8  # partitions per app and kind: each takes 1,000 writes a second

PROFILE = "profile"
MEMBER = "member#"
APPS = "#apps"  # the listing of all apps; no app can have this name


class Table(NamedTuple):
    """Key attributes of a table (`S` string, `N` number); the infrastructure creates it from this."""

    partition: str
    sort: tuple[str, Literal["S", "N"]] | None = None


MESSAGES = Table("conversation", ("msg_id", "N"))
INBOX = Table("reader", ("conversation", "N"))
DEDUP = Table("dedup_key")
DIRECTORY = Table("entity", ("facet", "S"))
LISTING = Table("listing", ("entity_id", "N"))  # the Directory's index
EXPIRES_AT = "expires_at"  # seconds since the epoch; the TTL attribute of Messages and Dedup


class Conversation(NamedTuple):
    """One log: two users (`low` ≤ `high`), a group (`low`), or a user's system messages (`low`)."""

    app_id: str
    kind: Kind
    low: int
    high: int = 0

    @property
    def key(self) -> str:
        return f"{self.app_id}#{self.kind}#{self.low}" + (f"#{self.high}" if self.kind == "user" else "")

    def number_for(self, user_id: int) -> int:
        """What `user_id` calls this conversation: the other user, the group, or 0."""
        if self.kind == "user":
            return self.high if user_id == self.low else self.low
        return self.low if self.kind == "group" else 0

    def users(self) -> tuple[int, ...]:
        """Whose Inbox holds it, where the key alone tells (not for a group)."""
        if self.kind == "group":
            return ()
        return (self.low,) if self.kind == "system" or self.low == self.high else (self.low, self.high)

    def recipient_of(self, sender: int) -> int:
        """`to_xid.uid` of a message: the group, or the user it went to."""
        return self.high if self.kind == "user" and sender == self.low else self.low


def between(app_id: str, one: int, other: int) -> Conversation:
    return Conversation(app_id, "user", min(one, other), max(one, other))


def group(app_id: str, group_id: int) -> Conversation:
    return Conversation(app_id, "group", group_id)


def system(app_id: str, user_id: int) -> Conversation:
    return Conversation(app_id, "system", user_id)


def parse(key: str) -> Conversation:
    """The conversation of a Messages key; ValueError for anything that `Conversation.key` cannot have built."""
    app_id, kind, *ids = key.split("#")
    numbers = [int(id) for id in ids]
    if kind == "user" and len(numbers) == 2:
        conversation = between(app_id, *numbers)
    elif kind in ("group", "system") and len(numbers) == 1:
        conversation = group(app_id, *numbers) if kind == "group" else system(app_id, *numbers)
    else:
        raise ValueError(f"not a conversation: {key}")
    if conversation.key != key or conversation.low < 1:
        raise ValueError(f"not a conversation: {key}")
    return conversation


def entity(app_id: str, number: int) -> str:
    """A user or a group in the Directory: one number space, so one key; also the user's partition of the Inbox."""
    return f"{app_id}#{number}"


def request(app_id: str, sender: int, operation: str, transaction_id: int | str) -> str:
    return f"{app_id}#{sender}#{operation}#{transaction_id}"


def signing(app_id: str, generation: int, nonce: str) -> str:
    """What an app's signing key is derived from: no key of a table."""
    return f"{app_id}#{generation}#{nonce}"


def limited(app_id: str, user_id: int) -> str:
    """What a sender's limit is kept under; user 0: that of an app's administrators."""
    return f"{app_id}#{user_id}"


def member(user_id: int) -> str:
    return f"{MEMBER}{user_id}"


def listing(app_id: str, kind: str, number: int) -> str:
    return f"{app_id}#{kind}#{number % LISTING_SHARDS}"
