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
TIMEOUT_S = 1800
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
INTERLEAVE = "histories/test_interleavings.py::test_every_outcome_is_that_of_some_serial_order"

MUTANTS = (
    # --- append and dedup
    Mutant(
        "a slot is filled before it is reserved",
        "functions/messaging/conversations/posting.py",
        (
            (
                "        earlier = dedup.reserve(this.transaction, this.digest, free, now_ms)\n",
                "        (record,) = store.get_many([dedup.ref(this.transaction)])\n"
                "        earlier = dedup.claimed(record, this.digest, now_ms)\n",
            ),
            (
                "    return [numbers[target] for target in request.targets]\n\n\ndef _understood",
                "    if this.transaction and slots is free:\n        dedup.reserve(this.transaction, this.digest, numbers, now_ms)\n"
                "    return [numbers[target] for target in request.targets]\n\n\ndef _understood",
            ),
            ("partial(dedup.relocate, this.transaction, this.digest, target)", "lambda old, new: new"),
        ),
        f"tests/{SINGLE}[send to one-until answered-with a rival]",
    ),
    mutant(
        "any taken slot counts as our own message",
        "messaging/conversations/log",
        'if outcome.applied or outcome.item["written_by"] == message.written_by:',
        "if outcome.applied or outcome.item:",
        "histories/test_interleavings.py::test_every_interleaving_stores_a_message_once",
    ),
    mutant(
        "a message is put without a condition",
        "messaging/conversations/log",
        'ConditionExpression="attribute_not_exists(conversation)"',
        'ConditionExpression="attribute_not_exists(conversation) OR attribute_exists(conversation)"',
        f"{SINGLE}[send to one-until answered-with a rival]",
    ),
    mutant(
        "our own message in the slot is not recognised",
        "messaging/conversations/log",
        'if outcome.applied or outcome.item["written_by"] == message.written_by:',
        "if outcome.applied:",
        f"{SINGLE}[send to one-until answered-alone]",
    ),
    mutant(
        "every message without a transaction_id has the same owner",
        "messaging/conversations/posting",
        "written_by = transaction or uuid.uuid4().hex",
        'written_by = transaction or ""',
        f"{INTERLEAVE}[| a>b; a>b-undisturbed]",
    ),
    mutant(
        "a reservation is moved without its condition",
        "messaging/conversations/dedup",
        'ConditionExpression="digest = :digest AND slots.#target = :old"',
        'ConditionExpression="digest = :digest AND (slots.#target = :old OR attribute_exists(dedup_key))"',
        "histories/test_interleavings.py::test_every_interleaving_stores_a_message_once",
    ),
    mutant(
        "a lost race takes the next slot without moving the reservation",
        "messaging/conversations/log",
        "slot = relocate(slot, newest.msg_id + 1) if relocate else newest.msg_id + 1",
        "slot = newest.msg_id + 1",
        "histories/test_interleavings.py::test_every_interleaving_stores_a_message_once",
    ),
    mutant(
        "an append that lost every race is answered as done",
        "messaging/conversations/log",
        "    release(slot)\n    return None\n",
        "    release(slot)\n    return slot\n",
        "faults/test_races.py::test_a_send_that_lost_too_many_races_is_refused_and_not_stored",
    ),
    mutant(
        "negative transaction_ids are not counted",
        "messaging/conversations/posting",
        "if request.transaction_id else None",
        'if request.transaction_id and not str(request.transaction_id).startswith("-") else None',
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
        "    if refusal:\n        raise refusal\n    earlier = dedup.claimed",
        "    if refusal:\n        if this.transaction:\n"
        "            dedup.reserve(this.transaction, this.digest, dict.fromkeys(targets, 1), now_ms)\n"
        "        raise refusal\n    earlier = dedup.claimed",
        "endpoints/test_send.py::test_a_refused_request_does_not_use_up_its_transaction_id",
    ),
    mutant(
        "what is stored is not answered once it would be refused",
        "messaging/conversations/posting",
        "        stored = _stored(this)\n",
        "        stored = None\n",
        "endpoints/test_send.py::test_a_repeat_gets_the_first_reply_also_after_leaving_the_group",
    ),
    mutant(
        "how busy a conversation is, is forgotten with every message",
        "messaging/conversations/log",
        'return {"busy_until": busy.until, ',
        'return {"busy_until": None, ',
        "endpoints/test_pace.py::test_a_burst_is_taken_and_what_exceeds_it_is_refused",
    ),
    mutant(
        "a race that was lost costs a conversation nothing",
        "messaging/conversations/log",
        "spent_ms = attempt * put_ms + (attempt - 1) * moved_ms",
        "spent_ms = put_ms",
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
    # --- senders, time and numbers
    mutant(
        "a sender's limit is each container's own",
        "messaging/conversations/limits",
        "    if owed * OWED_SHARE > limit.us(limit.burst) or waited:",
        "    if waited:",
        "endpoints/test_limits.py::test_all_containers_share_one_limit",
    ),
    mutant(
        "a refused request counts against its sender",
        "messaging/conversations/posting",
        "        limits.give_back(",
        "        limits.units(0, 0) or (limits, ",
        "endpoints/test_limits.py::test_what_lost_too_many_races_does_not_count",
    ),
    mutant(
        "what a container owes is forgotten too fast",
        "messaging/conversations/limits",
        "FORGOTTEN_SHARE = 100",
        "FORGOTTEN_SHARE = 1",
        "endpoints/test_limits.py::test_many_containers_together_let_through_little_more_than_the_rate",
    ),
    mutant(
        "who is over the limit is looked up each time",
        "messaging/conversations/posting",
        "            limits.require_room(limit, amount, now_ms)\n",
        "            pass\n",
        "endpoints/test_limits.py::test_who_is_over_the_limit_is_refused_from_memory",
    ),
    mutant(
        "a request's size is looked at after its targets",
        "messaging/conversations/posting",
        "    rules.require_request_size(",
        "    store.get_many([directory.ref(caller.app_id, target) for target in targets])\n    rules.require_request_size(",
        "endpoints/test_limits.py::test_a_request_that_is_too_large_is_refused_before_anything_is_read",
    ),
    mutant(
        "a batch reads its logs before its targets are checked",
        "messaging/conversations/posting",
        "    batch, record = len(targets) > 1, None\n",
        "    batch, record = len(targets) > 1, None\n    store.parallel(reads)\n",
        "endpoints/test_limits.py::test_a_refused_batch_has_read_no_log",
    ),
    mutant(
        "what is reserved and not stored is carried out whoever asks",
        "messaging/conversations/posting",
        "    return earlier.slots if earlier and not _missing(this, earlier) else None",
        "    return earlier.slots if earlier else None",
        "faults/test_refusals.py::test_who_was_removed_does_not_post_with_what_an_attempt_had_reserved",
    ),
    mutant(
        "a reservation is removed whatever it names",
        "messaging/conversations/dedup",
        'ConditionExpression="digest = :digest AND slots.#target = :taken"',
        'ConditionExpression="digest = :digest AND (slots.#target = :taken OR attribute_exists(dedup_key))"',
        "histories/test_interleavings.py::test_every_interleaving_stores_a_message_once",
    ),
    mutant(
        "a reservation is removed while its slot is free",
        "messaging/conversations/log",
        "        if attempt == APPEND_ATTEMPTS:\n            break\n",
        "        if attempt == APPEND_ATTEMPTS:\n            newest = tip(conversation, message.sent_at)\n"
        "            slot = relocate(slot, newest.msg_id + 1) if relocate else slot\n            break\n",
        "histories/test_interleavings.py::test_every_interleaving_stores_a_message_once",
    ),
    mutant(
        "a refusal keeps its reservation",
        "messaging/conversations/log",
        "    release(slot)\n    return None\n",
        "    return None\n",
        "faults/test_refusals.py::test_a_clean_refusal_leaves_no_reservation_and_the_same_id_takes_corrected_content",
    ),
    mutant(
        "a repeat writes everything again",
        "messaging/conversations/posting",
        "    missing = _missing(this, earlier) if earlier else list(free)\n",
        "    missing = list(slots)\n",
        "faults/test_refusals.py::test_a_repeat_puts_nothing_and_from_the_third_on_looks_at_no_log",
    ),
    mutant(
        "a conversation's rate counts messages of any size alike",
        "messaging/conversations/pace",
        "ceil((text_bytes + ITEM_BYTES) / UNIT_BYTES) * UNIT_MS)",
        "UNIT_MS)",
        "endpoints/test_pace.py::test_of_large_messages_fewer_fit_into_a_burst",
    ),
    mutant(
        "a flooder's share of a backlog is everybody's",
        "messaging/conversations/pace",
        "own > 0 and middle > fair",
        "sum(waiting.shares.values()) > fair",
        "endpoints/test_pace.py::test_a_flooding_member_makes_nobody_elses_send_fail",
    ),
    mutant(
        "of many flooders the smaller shares are forgotten",
        "messaging/conversations/pace",
        "SHARES = 40",
        "SHARES = 10",
        "endpoints/test_pace.py::test_flooders_leave_room_for_everybody_else_from_the_first_second_on",
    ),
    mutant(
        "a clock that is ahead keeps a conversation busy",
        "messaging/conversations/pace",
        "    wrong_clock = sent_at > now_ms + LEAD_MS\n",
        "    wrong_clock = False\n",
        "endpoints/test_pace.py::test_a_message_of_a_clock_that_is_ahead_refuses_nobody",
    ),
    mutant(
        "an append goes on from what was read before its slot was known",
        "messaging/conversations/log",
        "if newest.msg_id < slot - 1:",
        "if newest.msg_id > slot:",
        "endpoints/test_pace.py::test_time_and_rate_go_on_from_the_message_before_whoever_has_named_the_slot",
    ),
    mutant(
        "the highest number is that of the newest delivered message",
        "messaging/conversations/inbox",
        "    return max(marks.last_seq, marks.read_seq, marks.fetched_seq, marks.skip_seq, marks.cut_seq, marks.join_seq)",
        "    return marks.last_seq",
        "faults/test_refusals.py::test_a_number_that_a_mark_knows_is_never_given_out_again",
    ),
    mutant(
        "AWS's clock is not looked at",
        "messaging/base/clock",
        "(least + most) // 2 if off else 0",
        "0",
        "endpoints/test_clock.py::test_a_container_with_a_wrong_clock_stamps_messages_right",
    ),
    mutant(
        "a revoked token is answered for what it has stored",
        "messaging/conversations/posting",
        "        this.caller.confirmed()\n",
        "",
        "faults/test_refusals.py::test_a_revoked_token_is_not_answered_for_what_it_has_stored",
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
        f"{SINGLE}[send to many-until answered-alone]",
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
        f"{SINGLE}[history-until answered-alone]",
    ),
    mutant(
        "history goes behind a delete",
        "messaging/conversations/lookup",
        "return max(self.marks.cut_seq, 0 if self.history_visible else self.marks.join_seq) + 1",
        "return (0 if self.history_visible else self.marks.join_seq) + 1",
        f"{SINGLE}[delete-until answered-alone]",
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
        f"tests/{SINGLE}[deliver-until answered-alone]",
    ),
    mutant(
        "marks are set whatever they were",
        "messaging/conversations/inbox",
        'conditions = conditions + [f"(attribute_not_exists({mark}) OR {mark} {ahead[mark]} :{mark})" for mark in moved if mark in ahead]',
        'conditions = [*conditions, "(attribute_exists(reader) OR attribute_not_exists(reader))"]',
        f"{SINGLE}[fan-out-until answered-with a rival]",
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
        f"{SINGLE}[deliver-until answered-alone]",
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
        "    if newest.seq > marks.skip_seq:\n",
        "    if newest.seq > marks.skip_seq and news.last_seq > marks.last_seq:\n",
        "workers/test_fanout.py::test_a_late_job_may_still_tell_of_a_command",
    ),
    mutant(
        "a large group's head is not looked at",
        "messaging/conversations/lookup",
        "if head and head.last_seq > last_seq:",
        "if head and head.last_seq < last_seq:",
        f"{SINGLE}[send to two groups-until answered-alone]",
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
        f"{INTERLEAVE}[group abc; leave c | join c; join c; leave c; a>g-undisturbed]",
    ),
    mutant(
        "a read receipt of somebody who has just left is answered as done",
        "messaging/conversations/lookup",
        " and caller.group_id != found.number:\n        raise",
        " and caller.group_id == 0:\n        raise",
        f"{INTERLEAVE}[group ab; a>g | leave b; ack b g-undisturbed]",
    ),
    mutant(
        "a fan-out brings back who has left",
        "messaging/conversations/inbox",
        "[BELONGS if is_group else GOES_ON]",
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
        "        return error\n    return None\n",
        "        return None if error else None\n    return None\n",
        f"{SINGLE}[deliver-gives up-alone]",
    ),
    mutant(
        "a record that cannot be read fails its batch, again and again",
        "workers/deliver",
        "        except (AttributeError, LookupError, TypeError, ValueError) as error:\n",
        "        except ZeroDivisionError as error:\n",
        "workers/test_deliver.py::test_a_record_that_cannot_be_read_goes_to_the_dead_letters_alone",
    ),
    mutant(
        "a record that cannot be read is lost without a word",
        "workers/deliver",
        '    set_aside(_not_again(unreadable, event["Records"], set(again)))\n',
        "",
        "workers/test_deliver.py::test_a_record_that_cannot_be_read_goes_to_the_dead_letters_alone",
    ),
    Mutant(
        "workers that may take all of the account's concurrency are deployed",
        "ops/concurrency.py",
        (('"red" if demand.most >= has.free else "note"', '"red" if demand.most > has.free else "note"'),),
        "tests/ops/test_deploy.py::test_workers_that_could_take_all_of_the_accounts_concurrency_are_not_deployed",
    ),
    Mutant(
        "the account's limit counts, not what is left of it",
        "ops/concurrency.py",
        (
            (
                'Capacity(found["ConcurrentExecutions"], found["UnreservedConcurrentExecutions"])',
                'Capacity(found["ConcurrentExecutions"], found["ConcurrentExecutions"])',
            ),
        ),
        "tests/ops/test_deploy.py::test_workers_that_could_take_all_of_the_accounts_concurrency_are_not_deployed",
    ),
    Mutant(
        "a shard is delivered one batch after the other",
        "cdk.json",
        (('"deliver_lanes": 2,', '"deliver_lanes": 1,'),),
        "tests/infra/test_queues.py::test_a_shard_has_the_lanes_of_the_settings_and_its_worker_the_memory_to_carry_a_thousand_records_a_second",
    ),
    mutant(
        "what is on its way in another lane counts until it comes",
        "messaging/conversations/inbox",
        'if known.last_seq < guess.get("last_seq", 0):',
        'if known.last_seq < guess.get("last_seq", 0) < 0:',
        "workers/test_deliver.py::test_what_does_not_count_is_not_counted_even_while_it_is_on_its_way",
    ),
    mutant(
        "what another lane holds of the middle of a batch counts until it comes",
        "workers/deliver",
        "    if len({record.msg_id for record in records}) <= last - first:\n",
        "    if not records:\n",
        "workers/test_deliver.py::test_what_another_lane_holds_of_the_middle_of_a_batch_is_known",
    ),
    mutant(
        "a message that the log cannot read holds up the next",
        "workers/deliver",
        "        with suppress(ValidationError):",
        "        with suppress(KeyError):",
        "workers/test_deliver.py::test_a_message_that_the_log_cannot_read_does_not_hold_up_the_next",
    ),
    mutant(
        "a COMMAND is not told where a later message was",
        "workers/deliver",
        'head["last_seq"] > news.last_seq and not news.skip.seq',
        'head["last_seq"] > news.last_seq',
        "workers/test_deliver.py::test_what_a_later_message_has_told_in_another_lane_is_not_told_again",
    ),
    mutant(
        "a delivery that died with the head moved does not queue its jobs",
        "workers/deliver",
        'head["last_seq"] > news.last_seq and',
        'head["last_seq"] >= news.last_seq and',
        "workers/test_deliver.py::test_a_delivery_that_died_before_it_queued_its_jobs_queues_them_when_it_comes_again",
    ),
    mutant(
        "what comes again is set aside each time",
        "workers/deliver",
        'set_aside(_not_again(unreadable, event["Records"], set(again)))',
        "set_aside(unreadable)",
        "workers/test_deliver.py::test_what_comes_again_anyway_is_set_aside_once_when_it_is_done",
    ),
    mutant(
        "who sends to 500 is served before everybody else of the batch",
        "workers/deliver",
        "    conversations = _in_turn(batches)\n",
        "    conversations = list(batches)\n",
        "workers/test_deliver.py::test_who_sends_to_many_at_once_is_not_served_before_everybody_else",
    ),
    mutant(
        "a batch that fails is as many tracebacks as it has conversations",
        "workers/deliver",
        "        return error\n    return None\n",
        '        logger.exception("delivery failed", exc_info=error, extra={"failed": 1})\n        return error\n    return None\n',
        "workers/test_deliver.py::test_a_batch_that_fails_is_one_line_in_the_log",
    ),
    Mutant(
        "a message that the log cannot read either is delivered, and its letter deleted",
        "ops/dead_letters.py",
        (
            (
                "    except ValueError:\n        return None\n    return [_record(",
                "    except ValueError:\n        return []\n    return [_record(",
            ),
        ),
        "tests/ops/test_dead_letters.py::test_a_message_that_the_log_cannot_read_either_stays_a_letter",
    ),
    mutant(
        "of a batch only the oldest message is delivered",
        "workers/deliver",
        "newest = max(records, key=lambda record: record.msg_id)",
        "newest = min(records, key=lambda record: record.msg_id)",
        f"{SINGLE}[deliver-until answered-alone]",
    ),
    Mutant(
        "the others hear of a message before its sender's own row moves",
        "functions/workers/deliver.py",
        (
            (
                "    for reader in readers:\n        inbox.apply(conversation, reader, _news(records, reader), told)\n",
                "",
            ),
            (
                "            enqueue(conversation.app_id, _jobs(conversation, news, members))\n",
                "            enqueue(conversation.app_id, _jobs(conversation, news, members))\n"
                "    for reader in readers:\n        inbox.apply(conversation, reader, _news(records, reader), told)\n",
            ),
        ),
        "tests/workers/test_deliver.py::test_ones_own_message_is_not_unread_even_between_two_writes_of_a_delivery",
    ),
    mutant(
        "jobs that the queue refused are dropped",
        "messaging/conversations/queue",
        'for failure in reply.get("Failed", [])}',
        "for failure in ()}",
        f"{SINGLE}[deliver-until answered-alone]",
    ),
    mutant(
        "a fan-out that failed is reported as done",
        "workers/fanout",
        "        return error\n    return None\n",
        "        return None if error else None\n    return None\n",
        f"{SINGLE}[fan-out-gives up-alone]",
    ),
    mutant(
        "of merged jobs only the newer one's marks are kept",
        "messaging/conversations/rules",
        "return News(newest.last_seq, newest.last_at, skip, count_seq=count_seq)",
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
        "the sum of one chain is taken for what another skipped",
        "messaging/conversations/rules",
        "for skip in skips if skip.chain != newest.chain",
        "for skip in skips if False",
        "unit/test_rules.py::test_what_a_delivery_changes_of_a_row",
    ),
    mutant(
        "a head's commands hide those of a row's older chain",
        "messaging/conversations/rules",
        "newest_skip([marks.skip, head.skip], max(marks.count_seq, head.count_seq))",
        "newest_skip([marks.skip, head.skip], marks.count_seq)",
        "unit/test_rules.py::test_a_head_and_a_row_leave_both_their_older_chains_to_the_log",
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
        'conditions.append("(attribute_not_exists(skip_seq) OR (skip_sum.seq = skip_seq AND skip_sum.chain = :chain))")',
        'conditions.append("(attribute_not_exists(skip_seq) OR attribute_not_exists(skip_sum) OR skip_sum.chain = :chain)")',
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
        "signed = jwt.api_jws.decode_complete(token, key.value, [ALGORITHM])",
        'signed = jwt.api_jws.decode_complete(token, key.value, [jwt.get_unverified_header(token)["alg"]])',
        "unit/test_tokens.py::test_a_token_rightly_signed_by_another_algorithm_is_refused",
    ),
    mutant(
        "the token's app is not checked",
        "messaging/people/tokens",
        '        or claims.app != app["entity"]\n',
        "",
        "unit/test_tokens.py::test_a_token_of_another_app_is_refused",
    ),
    mutant(
        "a token without a known kid is checked with the current key",
        "messaging/people/tokens",
        "        if key is None:\n            return None\n",
        "        if key is None:\n            key = signing_key(app)\n",
        "unit/test_tokens.py::test_a_kid_that_names_no_key_is_refused_whatever_it_is_signed_with",
    ),
    mutant(
        "the name of the current key is a key",
        "messaging/people/tokens",
        "for kid, value in content.items() if kid != CURRENT and isinstance",
        "for kid, value in content.items() if isinstance",
        "unit/test_tokens.py::test_a_kid_that_names_no_key_is_refused_whatever_it_is_signed_with",
    ),
    mutant(
        "an app's key is every app's",
        "messaging/base/keys",
        'return f"{app_id}#{generation}#{nonce}"',
        'return f"{generation}"',
        "ops/test_keys.py::test_a_backend_signs_with_what_keys_show_prints_and_for_its_app_alone",
    ),
    mutant(
        "an app that is made again has the key of the one before",
        "messaging/base/keys",
        'return f"{app_id}#{generation}#{nonce}"',
        'return f"{app_id}#{generation}"',
        "unit/test_tokens.py::test_an_app_that_is_made_again_takes_no_token_from_before_whatever_the_clock_says",
    ),
    mutant(
        "a new app takes what the stack's key has signed",
        "messaging/people/tokens",
        "return Key(kid, value, of_stack=True) if directory.OLDEST_KEY not in app else None",
        "return Key(kid, value, of_stack=True)",
        "unit/test_tokens.py::test_the_stacks_own_key_signs_for_no_app_that_is_made_from_now_on",
    ),
    mutant(
        "an app of 0.1.0 that was made anew takes tokens of the one before",
        "messaging/people/tokens",
        'return None if key.of_stack and claims.iat < app["created_at"] // 1000 else claims',
        "return claims",
        "unit/test_tokens.py::test_an_app_of_0_1_0_that_was_made_anew_refuses_what_was_signed_for_the_one_before",
    ),
    mutant(
        "a retired generation of an app's key is still good",
        "messaging/people/tokens",
        "if generation >= app.get(directory.OLDEST_KEY, 0) else None",
        "if generation >= 0 else None",
        "ops/test_keys.py::test_of_an_apps_keys_the_old_one_stays_good_until_it_is_retired",
    ),
    mutant(
        "a token that nobody signed empties the keyring",
        "messaging/people/tokens",
        "        ring = _asked()\n        _refreshed.put",
        "        _ring.clear()\n        ring = _asked()\n        _refreshed.put",
        "unit/test_tokens.py::test_a_token_that_nobody_signed_takes_the_keys_from_nobody_who_has_one_during_an_outage",
    ),
    mutant(
        "a failure to fetch the keys is not remembered",
        "messaging/people/tokens",
        "        _failed.put(secret, True)\n",
        "",
        "unit/test_tokens.py::test_an_outage_is_asked_about_and_logged_once_in_a_while",
    ),
    mutant(
        "a token may live for ever",
        "messaging/people/tokens",
        "        or claims.exp > claims.iat + settings().token_max_days * DAY_S\n",
        "",
        "unit/test_tokens.py::test_a_token_lives_for_400_days_at_most",
    ),
    Mutant(
        "what a container remembers is dated by the monotonic clock",
        "functions/messaging/base/memory.py",
        (("0 <= time.time() - held[0]", "0 <= time.monotonic() - held[0]"), ("= time.time(), value", "= time.monotonic(), value")),
        "tests/strangers/test_tokens_at_the_door.py::test_a_container_that_was_frozen_for_hours_lets_nobody_in_who_is_locked_out",
    ),
    mutant(
        "what is asked for again stays young",
        "messaging/people/directory",
        "        _apps.put(app_id, item)\n",
        "    _apps.put(app_id, item)\n",
        "unit/test_standing.py::test_a_container_remembers_a_user_for_30_s_and_reads_nothing_for_them",
    ),
    mutant(
        "a revocation is not looked at",
        "messaging/people/standing",
        "return revoked_ms > 0 and claims.iat * 1000 <= revoked_ms + LEAD_MS",
        "return False",
        "strangers/test_tokens_at_the_door.py::test_a_revocation_shuts_every_door_within_a_minute",
    ),
    mutant(
        "a clock that is ahead outlives a revocation",
        "messaging/people/standing",
        "claims.iat * 1000 <= revoked_ms + LEAD_MS",
        "claims.iat * 1000 < revoked_ms",
        "unit/test_standing.py::test_a_token_that_others_made_is_refused_up_to_5_s_after_the_revocation",
    ),
    mutant(
        "which revocation a token knows of is not asked",
        "messaging/people/standing",
        "    if claims.rev is not None:\n        return claims.rev < revoked_ms\n",
        "",
        "unit/test_standing.py::test_a_token_made_in_the_millisecond_of_a_revocation_is_good_and_one_from_before_is_not",
    ),
    mutant(
        "a revocation may go back",
        "messaging/people/directory",
        "since_ms = max(now_ms, revoked_ms(app(app_id), profile, user_id) + 1)\n"
        '        forward = "what = :user AND (attribute_not_exists(revoked_at) OR revoked_at < :revoked_at)"',
        'since_ms = now_ms\n        forward = "what = :user AND (attribute_not_exists(revoked_at) OR revoked_at <> :revoked_at)"',
        "unit/test_standing.py::test_a_revocation_never_goes_back_whatever_the_operators_clock_says",
    ),
    mutant(
        "a revocation of 0.1.0 is forgotten",
        "messaging/people/directory",
        'return int(max(profile.get("revoked_at", 0), app.get("revoked", {}).get(str(user_id), 0)))',
        'return int(profile.get("revoked_at", 0))',
        "unit/test_standing.py::test_a_revocation_of_0_1_0_holds_and_a_token_made_afterwards_is_good",
    ),
    mutant(
        "a group's number is a user",
        "messaging/people/standing",
        'if profile is None or profile["what"] == "group":',
        "if profile is None:",
        "strangers/test_tokens_at_the_door.py::test_every_forgery_is_refused_at_every_door_in_the_same_words",
    ),
    mutant(
        "a disabled user comes in",
        "messaging/people/standing",
        'gone = profile["what"] != "user" or profile.get("disabled")',
        'gone = profile["what"] != "user"',
        "strangers/test_tokens_at_the_door.py::test_who_was_erased_or_disabled_is_shut_out_at_every_door_and_leaves_no_trace",
    ),
    mutant(
        "a weak read alone refuses",
        "messaging/people/standing",
        "        profile = store.get(place)\n",
        "",
        "unit/test_standing.py::test_a_user_whom_a_weak_read_does_not_know_yet_gets_in",
    ),
    mutant(
        "a receipt is written before it is known who reads",
        "endpoints/ack",
        "        caller = caller.confirmed()\n",
        "",
        "strangers/test_tokens_at_the_door.py::test_nothing_is_written_for_who_is_shut_out_where_another_call_may_be_quicker",
    ),
    mutant(
        "history does not ask who reads",
        "messaging/conversations/lookup",
        "    (row,) = caller.alongside(partial(store.get, inbox.ref(caller.app_id, caller.user_id, number)))\n",
        "    row = store.get(inbox.ref(caller.app_id, caller.user_id, number))\n",
        "strangers/test_tokens_at_the_door.py::test_who_was_erased_or_disabled_is_shut_out_at_every_door_and_leaves_no_trace",
    ),
    mutant(
        "what is asked comes before who is calling",
        "messaging/edge",
        "                if refused.code not in TOKEN_REFUSED:\n",
        "                if not refused.code:\n",
        "strangers/test_tokens_at_the_door.py::test_who_calls_comes_before_what_is_asked",
    ),
    mutant(
        "of two spellings of a header the last one counts",
        "messaging/edge",
        "if headers.setdefault(name, text) != text and name in ALIASES.values():",
        "if not headers.setdefault(name, text):",
        "endpoints/test_caller.py::test_both_spellings_of_a_header_are_one_value_or_refused",
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
        "functions/messaging/people/standing.py",
        (('gone = profile["what"] != "user" or profile.get("disabled")', 'gone = profile.get("disabled")'),),
        "tests/ops/test_personal.py::test_an_erased_user_never_gets_in_again_and_gets_nothing",
    ),
    Mutant(
        "erasing turns a message into one that does not count",
        "functions/messaging/conversations/log.py",
        (('"written_by": ERASED}', '"written_by": ERASED, "ctype": COMMAND}'),),
        "tests/ops/test_personal.py::test_what_others_have_stays_as_it_was",
    ),
    Mutant(
        "erasing goes by the user's rows",
        "ops/personal.py",
        (
            (
                "    erased = 0\n    for page in scan.pages(",
                "    erased, known = 0, {conversation_of(row).key for row in inbox.rows(app_id, user)}\n    for page in scan.pages(",
            ),
            (
                'item["msg_id"], now_ms) for item in page.items]',
                'item["msg_id"], now_ms) for item in page.items if item["conversation"] in known]',
            ),
        ),
        "tests/ops/test_personal.py::test_what_was_never_delivered_and_what_no_row_tells_is_erased_too",
    ),
    Mutant(
        "an export goes by the user's rows",
        "ops/personal.py",
        (("            if sender == user or user in conversation.users():", "            if conversation in found:"),),
        "tests/ops/test_personal.py::test_an_export_holds_what_was_never_delivered_and_what_no_row_tells",
    ),
    Mutant(
        "a user with a longer number is taken for this one",
        "ops/personal.py",
        (("            if sender == user or user in conversation.users():", "            if conversation:"),),
        "tests/ops/test_personal.py::test_an_export_holds_nothing_of_who_has_a_longer_number",
    ),
    Mutant(
        "erasing marks the user before it has looked",
        "ops/commands/users.py",
        (
            (
                "        personal.require_erasable(app, user)\n",
                "        directory.erase(app, user, now_ms())\n        personal.require_erasable(app, user)\n",
            ),
        ),
        "tests/ops/test_personal.py::test_who_cannot_be_erased_is_refused_before_anything_is_marked",
    ),
    Mutant(
        "an owner who is erased already cannot be erased again",
        "ops/personal.py",
        (('profile["what"] == "erased":', 'profile["what"] == "erased" and not owned(app_id, user):'),),
        "tests/ops/test_personal.py::test_an_owner_who_was_erased_by_an_earlier_release_is_erased_again",
    ),
    Mutant(
        "a group of which nothing is left stops erasing",
        "ops/personal.py",
        (
            (
                "[partial(membership.end, keys.group(app_id, group), user, now_ms) for group in groups]",
                "[partial(membership.leave, app_id, group, [user], now_ms, lambda done: None) for group in groups]",
            ),
        ),
        "tests/ops/test_personal.py::test_what_was_never_delivered_and_what_no_row_tells_is_erased_too",
    ),
    Mutant(
        "a group that lists the user is left only where there is a row",
        "ops/personal.py",
        (("sorted({*listed, *_groups_by_rows(app_id, user)})", "sorted(_groups_by_rows(app_id, user))"),),
        "tests/ops/test_personal.py::test_what_was_never_delivered_and_what_no_row_tells_is_erased_too",
    ),
    Mutant(
        "groups are left only while the user is closed",
        "ops/personal.py",
        (("    _leave_groups(app_id, user, now_ms)  # whoever was adding them when they were closed\n", ""),),
        "tests/ops/test_personal.py::test_who_was_being_added_to_a_group_while_they_were_closed_is_in_it_no_more",
    ),
    Mutant(
        "erasing again does not wait",
        "ops/commands/users.py",
        (("    _settle()\n", ""),),
        "tests/ops/test_personal.py::test_nothing_is_erased_while_a_request_of_the_users_may_be_under_way",
    ),
    Mutant(
        "a late delivery moves the rows of who was erased",
        "functions/messaging/conversations/inbox.py",
        (("[BELONGS if is_group else GOES_ON]", "[BELONGS] if is_group else []"),),
        "tests/ops/test_personal.py::test_what_is_delivered_after_erasing_is_empty_and_brings_nothing_back",
    ),
    Mutant(
        "an erased message keeps the transaction_id that it was sent with",
        "functions/messaging/conversations/log.py",
        (('{**left, "erased_at": now_ms, "written_by": ERASED}', '{**left, "erased_at": now_ms}'),),
        "tests/ops/test_personal.py::test_of_an_erased_user_nothing_is_left_but_numbers",
    ),
    Mutant(
        "what was said to somebody who was erased is not shown before it is delivered",
        "functions/messaging/people/directory.py",
        (('{"user": "user", "erased": "user", "group": "group"}', '{"user": "user", "group": "group"}'),),
        "tests/ops/test_personal.py::test_what_was_never_delivered_and_what_no_row_tells_is_erased_too",
    ),
    Mutant(
        "a restored message has its contents though its sender was erased",
        "ops/restore.py",
        (('log.emptied(item, now_ms) if kind == "messages"', 'item if kind == "messages"'),),
        "tests/ops/test_restore.py::test_messages_of_who_was_erased_since_come_back_empty",
    ),
    Mutant(
        "restored rows are those from before their user was erased",
        "ops/restore.py",
        (("else personal.remains(item)", "else item"),),
        "tests/ops/test_restore.py::test_rows_of_who_was_erased_since_come_back_as_erasing_leaves_them",
    ),
    Mutant(
        "a restored listing makes an erased user a member again",
        "ops/restore.py",
        (('    if kind == "directory":\n        return None\n', '    if kind == "directory":\n        return item\n'),),
        "tests/ops/test_restore.py::test_who_was_erased_since_is_listed_in_no_group_again",
    ),
    Mutant(
        "a restored profile brings an erased user back",
        "ops/restore.py",
        (('_forgotten(page.items) if kind == "directory" else []', "[]"),),
        "tests/ops/test_restore.py::test_who_was_erased_since_stays_erased_though_the_directory_has_lost_it",
    ),
    # --- what is deployed
    Mutant(
        "the bill of materials lists what is locked, whether it was installed or not",
        "infra/package.py",
        (('{**locked, "components": found, "dependencies": graph}', "locked"),),
        "tests/infra/test_supply_chain.py::test_what_is_locked_but_was_not_installed_is_in_no_bill",
    ),
    Mutant(
        "the checks run before AWS is asked who deploys",
        "ops/deploy.py",
        (
            (
                "    session = _session()\n    require_concurrency(",
                "    check.run_steps(check.FAST, dict(os.environ), [check.TYPES])\n    session = _session()\n    require_concurrency(",
            ),
        ),
        "tests/ops/test_deploy.py::test_who_is_not_known_to_aws_is_told_before_the_checks_run",
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
