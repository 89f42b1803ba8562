"""What the infrastructure tells a function, read from its environment on first use."""

import os
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Settings:
    """Names of what the function may touch (empty where it may not), and the limits from `cdk.json`."""

    messages_table: str
    inbox_table: str
    dedup_table: str
    directory_table: str
    fanout_queue_url: str
    deliver_dead_queue_url: str
    token_secret: str
    token_max_days: int  # from `iat` to `exp` of a token
    dedup_window_s: int
    retention_s: int  # 0: messages are kept for ever
    message_limit_bytes: int
    request_limit_bytes: int  # of text, times the targets it goes to
    conversation_rate_per_s: int  # small messages into one conversation, lost races included; 0: as many as can be appended
    conversation_burst: int  # that one sender may send at once beyond that rate; together all may send twice as many
    user_rate_per_s: int  # units (a target and started 4 KiB) that one user may send; 0: no limit
    user_burst: int  # units that may come at once beyond that rate
    push_limit_members: int  # a group with more members is read by its head, not written member by member
    partial_batches: bool  # whether the stream's event source mapping honours batchItemFailures


@cache
def settings() -> Settings:
    env = os.environ.get
    return Settings(
        messages_table=env("MESSAGES_TABLE", ""),
        inbox_table=env("INBOX_TABLE", ""),
        dedup_table=env("DEDUP_TABLE", ""),
        directory_table=env("DIRECTORY_TABLE", ""),
        fanout_queue_url=env("FANOUT_QUEUE_URL", ""),
        deliver_dead_queue_url=env("DELIVER_DEAD_QUEUE_URL", ""),
        token_secret=env("TOKEN_SECRET", ""),
        token_max_days=int(env("TOKEN_MAX_DAYS", "400")),
        dedup_window_s=int(env("DEDUP_WINDOW_SECONDS", "86400")),
        retention_s=int(env("RETENTION_SECONDS", "0")),
        message_limit_bytes=int(env("MESSAGE_LIMIT_BYTES", "32768")),
        request_limit_bytes=int(env("REQUEST_LIMIT_BYTES", str(2 * 1024 * 1024))),
        conversation_rate_per_s=int(env("CONVERSATION_RATE_PER_SECOND", "0")),
        conversation_burst=int(env("CONVERSATION_BURST_MESSAGES", "0")),
        user_rate_per_s=int(env("USER_RATE_PER_SECOND", "0")),
        user_burst=int(env("USER_BURST", "0")),
        push_limit_members=int(env("PUSH_LIMIT_MEMBERS", "500")),
        partial_batches=env("PARTIAL_BATCHES", "true") == "true",
    )
