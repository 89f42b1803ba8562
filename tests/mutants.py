"""The tests are tested: known wrong versions of the code, each of which a named test must kill.

    python -m tests.mutants            all of them, with a table at the end
    python -m tests.mutants --some 5   five, other ones from hour to hour

Each is applied to a copy of the project under `.local/mutants`; there its test has to fail. First the tests have to pass as the code is.
"""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import typer
from rich.progress import Progress
from rich.table import Table

from infra.settings import ROOT
from ops.console import err, fail, out

HOME = ROOT / ".local" / "mutants"
PROCESSES = 2
TIMEOUT_S = 300
FAILED = 1  # pytest's exit code where tests ran and some failed; any other means that the mutant could not even run
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".local", "cdk.out", "__pycache__", ".*_cache", ".hypothesis")


class Mutant(NamedTuple):
    """What is wrong, where, and which test must notice it. `edits`: each text that occurs once, and what takes its place."""

    wrong: str
    file: str
    edits: tuple[tuple[str, str], ...]
    killer: str


def mutant(wrong: str, file: str, old: str, new: str, killer: str) -> Mutant:
    return Mutant(wrong, f"functions/{file}.py", ((old, new),), f"tests/{killer}")


SINGLE = "faults/test_every_fault.py::test_no_single_fault_loses_doubles_or_halves_anything"
PAIR = "faults/test_every_fault.py::test_no_pair_of_faults_loses_doubles_or_halves_anything"
INTERLEAVE = "histories/test_interleavings.py::test_every_outcome_is_that_of_some_serial_order"

MUTANTS = (
    # --- append and dedup
    Mutant(
        "a slot is filled before it is reserved",
        "functions/messaging/conversations/posting.py",
        (
            (
                "(dedup.reserve(transaction, digest, free, now_ms) if transaction else free)",
                "(dedup.find(transaction, digest, now_ms) if transaction else None) or free",
            ),
            (
                "    return [numbers[target] for target in request.targets]",
                "    if transaction and slots is free:\n        dedup.reserve(transaction, digest, numbers, now_ms)\n"
                "    return [numbers[target] for target in request.targets]",
            ),
            ("relocate = partial(dedup.relocate, transaction, digest, target) if transaction else None", "relocate = None"),
        ),
        f"tests/{SINGLE}[send to one-until_answered-with a rival]",
    ),
    mutant(
        "any taken slot counts as our own message",
        "messaging/conversations/log",
        'if outcome.applied or outcome.item["written_by"] == message.written_by:',
        "if outcome.applied or outcome.item:",
        f"{PAIR}[send to one-until_answered-with a rival, backwards]",
    ),
    mutant(
        "a message is put without a condition",
        "messaging/conversations/log",
        'ConditionExpression="attribute_not_exists(conversation)"',
        'ConditionExpression="attribute_not_exists(conversation) OR attribute_exists(conversation)"',
        f"{SINGLE}[send to one-until_answered-with a rival]",
    ),
    mutant(
        "our own message in the slot is not recognised",
        "messaging/conversations/log",
        'if outcome.applied or outcome.item["written_by"] == message.written_by:',
        "if outcome.applied:",
        f"{SINGLE}[send to one-until_answered-alone]",
    ),
    mutant(
        "every message without a transaction_id has the same owner",
        "messaging/conversations/posting",
        "written_by = transaction or uuid.uuid4().hex",
        'written_by = transaction or ""',
        "histories/test_appending.py::test_every_interleaving_stores_the_message_once",
    ),
    mutant(
        "a reservation is moved without its condition",
        "messaging/conversations/dedup",
        'ConditionExpression="digest = :digest AND slots.#target = :old"',
        'ConditionExpression="digest = :digest AND (slots.#target = :old OR attribute_exists(dedup_key))"',
        "histories/test_appending.py::test_every_interleaving_stores_the_message_once",
    ),
    mutant(
        "a lost race takes the next slot without moving the reservation",
        "messaging/conversations/log",
        "slot = relocate(slot, newest.msg_id + 1) if relocate else newest.msg_id + 1",
        "slot = newest.msg_id + 1",
        f"{PAIR}[send to one-until_answered-with a rival, backwards]",
    ),
    mutant(
        "an append that lost every race is answered as done",
        "messaging/conversations/log",
        '    raise ApiError(Code.TOO_MANY_REQUESTS, "too many messages into this conversation at once, send again")',
        "    return slot",
        "faults/test_races.py::test_a_send_that_lost_too_many_races_is_refused_and_not_stored",
    ),
    mutant(
        "negative transaction_ids are not counted",
        "messaging/conversations/posting",
        "if request.transaction_id else None",
        "if request.transaction_id and request.transaction_id > 0 else None",
        "endpoints/test_send.py::test_every_other_integer_is_a_transaction_id",
    ),
    mutant(
        "a reservation overwrites an earlier one",
        "messaging/conversations/dedup",
        'ConditionExpression="attribute_not_exists(dedup_key) OR expires_at <= :now"',
        'ConditionExpression="attribute_not_exists(dedup_key) OR expires_at <= :now OR attribute_exists(dedup_key)"',
        "faults/test_races.py::test_a_duplicate_at_any_moment_of_a_request_is_the_same_message",
    ),
    mutant(
        "an expired record that TTL has not deleted still counts",
        "messaging/conversations/dedup",
        "if not record or record[keys.EXPIRES_AT] * 1000 <= now_ms:",
        "if not record:",
        "endpoints/test_send.py::test_after_24_hours_who_has_left_the_group_is_refused_like_anybody",
    ),
    mutant(
        "an expired record that TTL has not deleted keeps its transaction_id",
        "messaging/conversations/dedup",
        "now_ms // 1000}),",
        "0}),",
        "endpoints/test_send.py::test_a_transaction_id_is_free_again_after_24_hours_with_its_row_still_there",
    ),
    mutant(
        "the digest is not compared",
        "messaging/conversations/dedup",
        'if record["digest"] != digest:',
        "if not digest:",
        "endpoints/test_send.py::test_the_same_transaction_id_with_other_content_is_refused",
    ),
    mutant(
        "send and notify share their transaction_ids",
        "messaging/base/keys",
        'return f"{app_id}#{sender}#{operation}#{transaction_id}"',
        'return f"{app_id}#{sender}#{transaction_id}"',
        "unit/test_keys.py::test_no_two_things_of_a_table_share_a_key[dedup_key]",
    ),
    mutant(
        "targets are checked after the reservation",
        "messaging/conversations/posting",
        "    earlier = dedup.find(transaction, digest, now_ms) if transaction and refusal else None\n"
        "    if refusal and earlier is None:\n"
        "        raise refusal\n",
        "    free = {target: tip.msg_id + 1 for target, tip in zip(targets, tips, strict=True)}\n"
        "    earlier = dedup.reserve(transaction, digest, free, now_ms) if transaction else None\n"
        "    if refusal and (not earlier or earlier == free):\n"
        "        raise refusal\n",
        "endpoints/test_send.py::test_a_refused_request_does_not_use_up_its_transaction_id",
    ),
    mutant(
        "what was reserved is not carried out once it would be refused",
        "messaging/conversations/posting",
        "dedup.find(transaction, digest, now_ms) if transaction and refusal else None",
        "None",
        "endpoints/test_send.py::test_a_repeat_gets_the_first_reply_also_after_leaving_the_group",
    ),
    mutant(
        "how busy a conversation is, is forgotten with every message",
        "messaging/conversations/log",
        '"busy_until": busy_until if ahead else None}',
        '"busy_until": None}',
        "endpoints/test_pace.py::test_a_burst_is_taken_and_what_exceeds_it_is_refused",
    ),
    mutant(
        "a race that was lost costs a conversation nothing",
        "messaging/conversations/log",
        "writes = 2 * attempt - 1 if relocate else attempt",
        "writes = 1",
        "endpoints/test_pace.py::test_a_race_that_was_lost_counts_as_what_it_has_written",
    ),
    mutant(
        "a message may be earlier on the clock than the one before it",
        "messaging/conversations/log",
        "sent_at = max(message.sent_at, newest.sent_at)",
        "sent_at = message.sent_at",
        "faults/test_races.py::test_later_in_the_log_is_never_earlier_on_the_clock",
    ),
    mutant(
        "numbers start again when every message has expired",
        "messaging/conversations/log",
        'return max(newest, Tip(*inbox.highest(conversation)), key=attrgetter("msg_id"))',
        "return newest",
        "endpoints/test_history.py::test_numbering_never_restarts",
    ),
    # --- reads
    mutant(
        "queries are not consistent",
        "messaging/base/store",
        "page = dynamodb().query(ConsistentRead=True, **call)",
        "page = dynamodb().query(ConsistentRead=False, **call)",
        "faults/test_weak_reads.py::test_what_was_answered_is_seen_whatever_replica_is_asked",
    ),
    mutant(
        "an item is not read consistently",
        "messaging/base/store",
        "item = dynamodb().get_item(TableName=table, Key=pack(key), ConsistentRead=True)",
        "item = dynamodb().get_item(TableName=table, Key=pack(key), ConsistentRead=False)",
        "faults/test_weak_reads.py::test_what_was_answered_is_seen_whatever_replica_is_asked",
    ),
    mutant(
        "a batch is not read consistently",
        "messaging/base/store",
        '{"ConsistentRead": not weak}',
        '{"ConsistentRead": False}',
        "faults/test_weak_reads.py::test_what_was_answered_is_seen_whatever_replica_is_asked",
    ),
    mutant(
        "keys that were left unprocessed are dropped",
        "messaging/base/store",
        'pending = reply.get("UnprocessedKeys")',
        "pending = {}",
        f"{SINGLE}[send to many-until_answered-alone]",
    ),
    mutant(
        "the last page is judged by its length",
        "messaging/conversations/log",
        "return messages, more and messages[-1].msg_id > oldest",
        "return messages, len(messages) == limit and messages[-1].msg_id > oldest",
        "faults/test_weak_reads.py::test_a_page_may_end_anywhere",
    ),
    mutant(
        "a page that is cut to fit a reply counts as the last",
        "endpoints/history",
        "more, messages = more or fitting < len(messages), messages[:fitting]",
        "messages = messages[:fitting]",
        "endpoints/test_history.py::test_a_page_of_a_little_more_than_fits_a_reply_is_not_the_last",
    ),
    mutant(
        "the next page starts with the message that ended this one",
        "endpoints/history",
        "messages[-1].msg_id - 1 if more else 0",
        "messages[-1].msg_id if more else 0",
        f"{SINGLE}[history-until_answered-alone]",
    ),
    mutant(
        "history goes behind a delete",
        "messaging/conversations/lookup",
        "return max(self.marks.cut_seq, 0 if self.history_visible else self.marks.join_seq) + 1",
        "return (0 if self.history_visible else self.marks.join_seq) + 1",
        f"{SINGLE}[delete-until_answered-alone]",
    ),
    mutant(
        "who joins sees what was said before",
        "messaging/conversations/lookup",
        "return max(self.marks.cut_seq, 0 if self.history_visible else self.marks.join_seq) + 1",
        "return self.marks.cut_seq + 1",
        "endpoints/test_history.py::test_a_member_sees_messages_from_the_moment_of_joining_on",
    ),
    mutant(
        "who has left a group still belongs to it",
        "messaging/conversations/inbox",
        'return row is not None and row.get("chat") == "group" and "left_at" not in row',
        'return row is not None and row.get("chat") == "group"',
        "endpoints/test_history.py::test_who_was_removed_from_the_group_is_refused",
    ),
    # --- watermarks
    Mutant(
        "the unread number is a counter",
        "functions/messaging/conversations/rules.py",
        (
            (
                "    skip_seq: int = 0  # the newest message that does",
                "    counter: int = 0\n    skip_seq: int = 0  # the newest message that does",
            ),
            ('        moved |= {"last_seq', '        moved |= {"counter": marks.counter + (not news.own), "last_seq'),
            ("WATERMARKS = tuple(", 'WATERMARKS = ("counter",) + tuple('),
            ("    return marks.last_seq - marks.floor if marks.skip_seq <= marks.floor else None", "    return marks.counter"),
        ),
        f"tests/{SINGLE}[deliver-once_more-alone]",
    ),
    mutant(
        "marks are set whatever they were",
        "messaging/conversations/inbox",
        'conditions = conditions + [f"(attribute_not_exists({mark}) OR {mark} {ahead[mark]} :{mark})" for mark in moved if mark in ahead]',
        'conditions = [*conditions, "(attribute_exists(reader) OR attribute_not_exists(reader))"]',
        f"{SINGLE}[fanout-until_answered-with a rival]",
    ),
    mutant(
        "a message that does not exist can be read",
        "messaging/conversations/inbox",
        'conditions = [BELONGS, "last_seq >= :read_seq"]',
        "conditions = [BELONGS]",
        "endpoints/test_ack.py::test_a_message_that_is_not_there_yet_is_refused",
    ),
    mutant(
        "messages that do not count are counted",
        "messaging/conversations/rules",
        "return marks.last_seq - marks.floor if marks.skip_seq <= marks.floor else None",
        "return marks.last_seq - marks.floor",
        "endpoints/test_unread.py::test_commands_and_own_messages_mixed_leave_the_number_exact",
    ),
    mutant(
        "one's own messages are counted",
        "messaging/conversations/rules",
        "    for sent in news.own:",
        "    for sent in ():",
        f"{SINGLE}[deliver-until_answered-alone]",
    ),
    mutant(
        "a delete leaves the read mark behind",
        "endpoints/forget",
        'upto = {"cut_seq": newest.msg_id, "read_seq": newest.msg_id}',
        'upto = {"cut_seq": newest.msg_id}',
        "endpoints/test_forget.py::test_deleting_removes_no_message_and_moves_the_own_row_only",
    ),
    mutant(
        "a late mark is dropped with the one that came in time",
        "messaging/conversations/rules",
        "    if newest.seq > skip:\n",
        "    if newest.seq > skip and news.last_seq > marks.last_seq:\n",
        "workers/test_fanout.py::test_a_late_job_may_still_tell_of_a_command",
    ),
    mutant(
        "a large group's head is not looked at",
        "messaging/conversations/lookup",
        "if head and head.last_seq > last_seq:",
        "if head and head.last_seq < last_seq:",
        f"{SINGLE}[send to two groups-until_answered-alone]",
    ),
    mutant(
        "the pages of a list or a count are not read consistently",
        "messaging/base/store",
        'return dynamodb().get_paginator("query").paginate(ConsistentRead=True, **call)',
        'return dynamodb().get_paginator("query").paginate(ConsistentRead=False, **call)',
        "faults/test_weak_reads.py::test_what_was_answered_is_seen_whatever_replica_is_asked",
    ),
    mutant(
        "only the first page of a query is looked at",
        "messaging/base/store",
        'for page in query_pages(**call) for item in page["Items"])',
        'for item in next(iter(query_pages(**call)))["Items"])',
        "faults/test_weak_reads.py::test_a_page_may_end_anywhere",
    ),
    # --- groups
    mutant(
        "joining does not read the newest number again",
        "messaging/conversations/membership",
        "    after = log.tip(conversation, now_ms)\n",
        "    after = before\n",
        "workers/test_groups.py::test_what_slips_into_a_join_is_counted_exactly_when_it_is_visible",
    ),
    mutant(
        "who comes back starts behind what the row knew",
        "messaging/conversations/membership",
        "(attribute_exists(left_at) AND last_seq <= :last_seq)",
        "(attribute_exists(left_at) AND join_seq <= :last_seq)",
        f"{INTERLEAVE}[joins and a leave and send-undisturbed]",
    ),
    mutant(
        "a read receipt of somebody who has just left is answered as done",
        "messaging/conversations/lookup",
        " and caller.group_id != found.number:\n        raise",
        " and caller.group_id == 0:\n        raise",
        f"{INTERLEAVE}[leave and ack-undisturbed]",
    ),
    mutant(
        "a fan-out brings back who has left",
        "messaging/conversations/inbox",
        "[BELONGS] if is_group else []",
        "[]",
        "workers/test_fanout.py::test_who_left_meanwhile_is_passed_over",
    ),
    mutant(
        "a group crosses the limit before its members' rows are flagged",
        "messaging/conversations/membership",
        "        _flag_rows(conversation, sorted(set(directory.members(conversation.app_id, conversation.low)).difference(users)))\n"
        '        _flag_profile(conversation, "by_head")\n',
        '        _flag_profile(conversation, "by_head")\n'
        "        _flag_rows(conversation, sorted(set(directory.members(conversation.app_id, conversation.low)).difference(users)))\n",
        "workers/test_groups.py::test_a_crossing_that_was_cut_short_leaves_nobody_out",
    ),
    # --- delivery
    mutant(
        "a delivery that failed is reported as done",
        "workers/deliver",
        "        return [record.sequence for record in records]\n",
        "        return []\n",
        f"{SINGLE}[deliver-gives_up-alone]",
    ),
    mutant(
        "of a batch only the oldest message is delivered",
        "workers/deliver",
        "newest = max(records, key=lambda record: record.msg_id)",
        "newest = min(records, key=lambda record: record.msg_id)",
        f"{SINGLE}[deliver-until_answered-alone]",
    ),
    Mutant(
        "the others hear of a message before its sender's own row moves",
        "functions/workers/deliver.py",
        (
            ("    for reader in readers:\n        inbox.apply(conversation, reader, _news(records, reader))\n", ""),
            (
                "            enqueue(conversation.app_id, list(_jobs(conversation, news, members)))\n",
                "            enqueue(conversation.app_id, list(_jobs(conversation, news, members)))\n"
                "    for reader in readers:\n        inbox.apply(conversation, reader, _news(records, reader))\n",
            ),
        ),
        "tests/workers/test_deliver.py::test_ones_own_message_is_not_unread_even_between_two_writes_of_a_delivery",
    ),
    mutant(
        "jobs that the queue refused are dropped",
        "messaging/conversations/queue",
        'for failure in reply.get("Failed", [])}',
        "for failure in ()}",
        f"{SINGLE}[deliver-until_answered-alone]",
    ),
    mutant(
        "a fan-out that failed is reported as done",
        "workers/fanout",
        '        logger.exception("fan-out failed", extra={"conversation": conversation, "member": member})\n        return False\n',
        '        logger.exception("fan-out failed", extra={"conversation": conversation, "member": member})\n        return True\n',
        f"{SINGLE}[fanout-gives_up-alone]",
    ),
    mutant(
        "of merged jobs only the newer one's marks are kept",
        "messaging/conversations/rules",
        "return News(newest.last_seq, newest.last_at, max(self.skip, other.skip))",
        "return newest",
        "workers/test_fanout.py::test_merging_keeps_the_newest_message_and_the_newest_command",
    ),
    # --- unread numbers
    mutant(
        "own messages that are read are subtracted",
        "messaging/conversations/rules",
        "own = sum(seq > tally.upto for seq in marks.own)",
        "own = len(marks.own)",
        "unit/test_tallies.py::test_own_messages_up_to_the_floor_are_not_subtracted",
    ),
    mutant(
        "one's own command is subtracted twice",
        "messaging/conversations/rules",
        "            if not sent.is_command:\n                own.add(sent.seq)",
        "            own.add(sent.seq)",
        "unit/test_rules.py::test_what_a_delivery_changes_of_a_row",
    ),
    mutant(
        "own messages are forgotten without a word",
        "messaging/conversations/rules",
        'return {"own": kept[newer:], "count_seq": kept[newer - 1]}',
        'return {"own": kept[newer:]}',
        "unit/test_tallies.py::test_own_messages_beyond_what_a_row_remembers_are_counted_in_the_log",
    ),
    mutant(
        "what was kept of the log is taken for another floor",
        "messaging/conversations/tallies",
        "(kept.floor, kept.retention_s) != (floor, retention_s)",
        "kept.retention_s != retention_s",
        "unit/test_tallies.py::test_what_was_kept_counts_for_its_own_floor_only",
    ),
    mutant(
        "sums of two chains are subtracted",
        "messaging/conversations/rules",
        "elif tally.uncounted is None or tally.chain != marks.chain:",
        "elif tally.uncounted is None:",
        "unit/test_tallies.py::test_sums_of_two_chains_are_not_compared",
    ),
    mutant(
        "the first message that is left is one too many",
        "messaging/conversations/tallies",
        "        after = first.msg_id - 1\n",
        "        after = first.msg_id\n",
        "unit/test_tallies.py::test_expired_messages_are_left_out_wherever_the_border_lies",
    ),
    mutant(
        "a count that fails fails the list",
        "messaging/conversations/tallies",
        'logger.exception("unread number not told", extra={"conversation": found.conversation.key})',
        "raise",
        "unit/test_tallies.py::test_a_count_that_fails_leaves_out_one_number",
    ),
    mutant(
        "a count that takes too long is seen through",
        "messaging/conversations/tallies",
        "while time.monotonic() < until and",
        "while",
        "unit/test_tallies.py::test_a_long_count_goes_on_where_the_last_list_stopped",
    ),
    mutant(
        "what an older release skipped is taken as known",
        "messaging/conversations/inbox",
        'conditions.append("(attribute_not_exists(skip_seq) OR skip_sum.seq = skip_seq)")',
        "pass",
        "unit/test_tallies.py::test_what_0_1_0_skipped_is_counted_after_the_upgrade",
    ),
    mutant(
        "a conversation that moves up between two pages is not told of",
        "endpoints/unread",
        "changed = bool(told) and told != [_check(listed[:first])]",
        "changed = False",
        "endpoints/test_unread.py::test_what_moves_up_between_two_pages_is_told_of",
    ),
    # --- strangers
    mutant(
        "the algorithm is read from the token",
        "messaging/people/tokens",
        "signed = jwt.api_jws.decode_complete(token, key, [ALGORITHM])",
        'signed = jwt.api_jws.decode_complete(token, key, [jwt.get_unverified_header(token)["alg"]])',
        "unit/test_tokens.py::test_a_token_rightly_signed_by_another_algorithm_is_refused",
    ),
    mutant(
        "the token's app is not checked",
        "messaging/people/tokens",
        "if claims is None or claims.app != app_id or max(",
        "if claims is None or max(",
        "unit/test_tokens.py::test_a_token_of_another_app_is_refused",
    ),
    mutant(
        "a token without a known kid is checked with the current key",
        "messaging/people/tokens",
        "        if key is None:\n            return None\n",
        "        if key is None:\n            key = keyring()[keyring()[CURRENT]]\n",
        "unit/test_tokens.py::test_a_kid_that_names_no_key_is_refused_whatever_it_is_signed_with",
    ),
    mutant(
        "a revocation is not looked at",
        "messaging/people/tokens",
        "if claims.iat * 1000 < revoked.get(claims.sub, 0):",
        "if claims.iat * 1000 < 0:",
        "unit/test_tokens.py::test_a_revocation_ends_exactly_the_tokens_issued_before_it",
    ),
    mutant(
        "an expired token is good",
        "messaging/people/tokens",
        "if claims.exp * 1000 <= now_ms:",
        "if claims.exp * 1000 <= 0:",
        "unit/test_tokens.py::test_a_token_ends_at_the_millisecond",
    ),
    mutant(
        "a user's token may act for another user",
        "messaging/edge",
        "if not is_admin and acting.user_id not in (None, own):",
        "if is_admin and acting.user_id == own:",
        "strangers/test_matrix.py::test_whose_an_id_is_decides_as_the_table_says[send]",
    ),
    mutant(
        "a user's token may name a group",
        "messaging/edge",
        "if not is_admin and acting.group_id is not None:",
        "if is_admin and acting.group_id == 0:",
        "strangers/test_matrix.py::test_whose_an_id_is_decides_as_the_table_says[send]",
    ),
    mutant(
        "whoever names a group may read it",
        "messaging/conversations/lookup",
        "if caller.group_id != number:",
        "if caller.group_id == 0:",
        "strangers/test_matrix.py::test_whose_an_id_is_decides_as_the_table_says[history]",
    ),
    mutant(
        "a user may send in another's name",
        "endpoints/send",
        "if sender != caller.user_id and not caller.is_admin:",
        "if sender == 0 and not caller.is_admin:",
        "strangers/test_matrix.py::test_whose_an_id_is_decides_as_the_table_says[send]",
    ),
    mutant(
        "a failure is logged with the exception's text",
        "messaging/base/telemetry",
        'f"{type(error).__name__}{_known(error)}\\n"',
        'f"{error!r}\\n"',
        "strangers/test_canaries.py::test_no_failure_gives_anything_away_whatever_its_exception_quotes",
    ),
    mutant(
        "a token is good before its time",
        "messaging/people/tokens",
        "max(claims.iat, claims.nbf) > now_ms",
        "claims.iat > now_ms",
        "unit/test_tokens.py::test_a_token_is_not_good_before_the_time_that_it_names",
    ),
    mutant(
        "the log tells what was sent",
        "messaging/edge",
        '"ms": round((time.perf_counter() - started) * 1000),',
        '"ms": round((time.perf_counter() - started) * 1000), "event": str(event),',
        "strangers/test_canaries.py::test_a_success_gives_away_nothing_but_history_to_its_reader",
    ),
    # --- what operators do
    Mutant(
        "a rotation writes over another one",
        "ops/keyring.py",
        (
            (
                "                continue\n",
                "                client.put_secret_value(SecretId=secret_id, SecretString=json.dumps(changed))\n",
            ),
        ),
        "tests/ops/test_keys.py::test_two_rotations_at_the_same_time_lose_no_key",
    ),
    Mutant(
        "a key is retired while its tokens are valid",
        "ops/keyring.py",
        (("good_from > now_ms)", "good_from > now_ms + longest_token_days * DAY_MS)"),),
        "tests/ops/test_keys.py::test_a_key_is_retired_when_the_longest_token_has_ended_and_not_before",
    ),
    Mutant(
        "a dead letter is deleted before it is sent",
        "ops/dead_letters.py",
        (("        reply: Any = _sqs().send", "        _delete(dead, letters)\n        reply: Any = _sqs().send"),),
        "tests/ops/test_dead_letters.py::test_a_crash_between_sending_and_deleting_loses_nothing",
    ),
    Mutant(
        "a rebuilt row is not counted in the log",
        "ops/rebuild.py",
        (('"skip_seq": newest.msg_id, "count_seq": newest.msg_id}\n    return', '"skip_seq": 0, "count_seq": 0}\n    return'),),
        "tests/ops/test_rebuild.py::test_a_lost_inbox_comes_back_with_every_conversation",
    ),
    Mutant(
        "a row that a delivery has made anew is taken as right",
        "ops/rebuild.py",
        (("    return not told or told ==", "    return True or told =="),),
        "tests/ops/test_rebuild.py::test_whatever_happens_at_whatever_call_every_number_is_exact",
    ),
    Mutant(
        "a conversation that is beginning is taken as read",
        "ops/rebuild.py",
        (("now_ms - DELIVERED_MS", "now_ms"),),
        "tests/ops/test_rebuild.py::test_a_conversation_that_is_just_beginning_is_not_taken_as_read",
    ),
    Mutant(
        "who leaves while their row is made anew stays in",
        "functions/messaging/conversations/membership.py",
        (("    if not store.get(listing):", "    if not listing:"),),
        "tests/ops/test_rebuild.py::test_who_leaves_while_the_row_is_made_anew_is_out",
    ),
    Mutant(
        "a restored row lets somebody in again who has left",
        "ops/restore.py",
        (("inbox.belongs(item) and not _is_listed(item)", "not item"),),
        "tests/ops/test_restore.py::test_a_row_from_before_somebody_left_does_not_let_them_in",
    ),
    Mutant(
        "an erased user may log in again",
        "functions/messaging/people/directory.py",
        (("_refuse(app_id, user_id, FOR_EVER_MS)", "_refuse(app_id, user_id, now_ms)"),),
        "tests/ops/test_personal.py::test_an_erased_user_never_gets_in_again_and_gets_nothing",
    ),
    Mutant(
        "erasing turns a message into one that does not count",
        "functions/messaging/conversations/log.py",
        (('{"erased_at": now_ms}', '{"erased_at": now_ms, "ctype": COMMAND}'),),
        "tests/ops/test_personal.py::test_what_others_have_stays_as_it_was",
    ),
    Mutant(
        "a row is deleted before its messages are erased",
        "ops/personal.py",
        (
            (
                "        private = conversation.users() == (user,)\n",
                "        private = conversation.users() == (user,)\n        _delete(inbox.ref(app_id, user, row['conversation']))\n",
            ),
        ),
        "tests/ops/test_personal.py::test_after_a_crash_at_any_call_repeating_it_erases_the_rest",
    ),
)


def main(some: int = 0, only: str = "") -> None:
    """`some`: that many, other ones from hour to hour; `only`: those whose description holds this text."""
    chosen = [each for each in MUTANTS if only in each.wrong]
    if some:
        first = int(time.time() // 3600) * some
        chosen = [MUTANTS[(first + number) % len(MUTANTS)] for number in range(some)]
    if not chosen:
        fail(f"no mutant is called {only!r}")
    sound = _pytest(ROOT, *sorted({each.killer for each in chosen}))
    if sound.returncode:
        fail(f"the tests have to pass before they are tested:\n{sound.stdout}")
    survivors = run(chosen)
    if survivors:
        fail(f"{len(survivors)} of {len(chosen)} wrong versions were not noticed: {'; '.join(each.wrong for each in survivors)}")
    out.print(f"{len(chosen)} wrong versions of the code, each noticed by the test that is to notice it")


def run(mutants: list[Mutant]) -> list[Mutant]:
    """Prints the table; returns those that no test killed."""
    table = Table("what is wrong", "where", "noticed by", "s")
    survivors = []
    copies: SimpleQueue[Path] = SimpleQueue()
    for number in range(PROCESSES):
        copies.put(_copy(HOME / str(number)))

    def judge(each: Mutant) -> tuple[Mutant, subprocess.CompletedProcess[str], float]:
        copy, started = copies.get(), time.monotonic()
        try:
            return each, _judged(copy, each), time.monotonic() - started
        finally:
            copies.put(copy)

    with Progress(console=err, transient=True) as progress, ThreadPoolExecutor(PROCESSES) as pool:
        task = progress.add_task("wrong versions", total=len(mutants))
        for each, result, seconds in pool.map(judge, mutants):
            progress.advance(task)
            if result.returncode != FAILED:
                survivors.append(each)
                err.print(f"[red]survived[/red] {each.wrong}: pytest ended with {result.returncode}\n{result.stdout[-1500:]}", markup=True)
            verdict = each.killer.removeprefix("tests/") if result.returncode == FAILED else "[red]nothing[/red]"
            table.add_row(each.wrong, each.file.removeprefix("functions/"), verdict.replace("[", "\\["), f"{seconds:.0f}")
    out.print(table)
    return survivors


def _copy(to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(ROOT, to, ignore=LEFT_OUT)
    kept = ROOT / ".local" / "templates"
    if kept.exists():  # synthesized already
        (to / ".local").mkdir()
        (to / ".local" / "templates").symlink_to(kept)
    return to


def _judged(copy: Path, each: Mutant) -> subprocess.CompletedProcess[str]:
    path = copy / each.file
    right = path.read_text()
    wrong = right
    for old, new in each.edits:
        if wrong.count(old) != 1:
            fail(f"{each.wrong}: the code has changed, {each.file} has {wrong.count(old)} times: {old}")
        wrong = wrong.replace(old, new)
    path.write_text(wrong)
    try:
        return _pytest(copy, each.killer)
    finally:
        path.write_text(right)


def _pytest(where: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    return subprocess.run(
        command, cwd=where, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S, check=False
    )


if __name__ == "__main__":
    typer.run(main)
