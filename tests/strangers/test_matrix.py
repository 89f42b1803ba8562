"""Who may do what with whose id: every operation, every id that it takes, whoever's it is, by every kind of caller.

The parameters come from the models and the operations from the catalog, so none can be forgotten; the answers are stated here, from the
contract. `python -m tests.strangers.test_matrix` prints the table as it unfolds.
"""

import importlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import pytest

from infra.catalog import FUNCTIONS
from messaging.base import keys, store
from messaging.edge import ActingHeaders, AppHeader, DirectEvent
from messaging.people import directory, standing, tokens
from tests.world import APP, World

WHOSE = ("own", "own group", "stranger", "other group", "their user", "their group", "nobody")  # "their": of the other app
CALLERS = ("user", "admin", "direct", "foreign")  # foreign: the other app's admin token
NO_IDS = {"type", "content_type", "content", "attachment", "config", "ext", "limit", "device_sn"}  # every other field is an id
VARIANTS = {"targets": ("targets of type 1", "targets of type 2"), "ack conversation_id": ("conversation_id", "conversation_id + msg_id")}

# The first row that fits counts. A number is the code; `page` is a 200 with the caller's own conversation, `empty` an empty last page.
# An app_id: "own" the caller's, "their …" the other app's, in all other columns the number is taken for the name of an app.
# A transaction_id: one that "own" has used for something else, that the others have used, that "nobody" has used yet.
# A msg_id: one that only a conversation of theirs is long enough to have.
RULES = """
operation     parameter                 caller        own    own group  stranger  other group  their user  their group  nobody

notify        app_id                    user          10010  40000      40000     40000        10008       10008        40000
*             app_id                    user,admin    200    40000      40000     40000        10008       10008        40000
send,notify   app_id                    direct        200    40000      40000     40000        10000       10000        40000
history       app_id                    direct        page   40000      40000     40000        empty       empty        40000
*             app_id                    direct        200    40000      40000     40000        200         200          40000
send,notify   app_id                    foreign       10008  40000      40000     40000        10000       10000        40000
history       app_id                    foreign       10008  40000      40000     40000        empty       empty        40000
*             app_id                    foreign       10008  40000      40000     40000        200         200          40000
*             *                         foreign       10008  10008      10008     10008        10008       10008        10008

notify        *                         user          10010  10010      10010     10010        10010       10010        10010
*             user_id                   user          200    10010      10010     10010        10010       10010        10010
*             group_id                  user          10010  10010      10010     10010        10010       10010        10010
history       user_id                   admin,direct  page   10000      empty     10000        10000       10000        10000
*             user_id                   admin,direct  200    10000      200       10000        10000       10000        10000
*             group_id                  admin,direct  20001  200        20001     200          20001       20001        20001

*             targets of type 1         *             200    10000      200       10000        10000       10000        10000
send          targets of type 2         *             20001  200        20001     20002        20001       20001        20001
notify        targets of type 2         *             20001  200        20001     200          20001       20001        20001
send          from_user_id              user          200    10010      10010     10010        10010       10010        10010
*             from_user_id              admin,direct  200    10000      200       10000        10000       10000        10000
*             transaction_id            *             50002  200        200       200          200         200          200

history       opposite_id               *             page   page       empty     20002        empty       empty        empty
history       msg_id_start              *             page   page       page      page         page        page         page
ack           conversation_id + msg_id  *             200    200        50001     20002        50001       50001        50001
ack           msg_id                    *             200    50001      50001     50001        50001       50001        50001
forget        msg_id                    *             10002  10002      10002     10002        10002       10002        10002
ack,forget    conversation_id           *             200    200        200       20002        200         200          200
unread        cursor                    *             200    200        200       200          200         200          200
"""

ROWS = [re.split("  +", row) for row in RULES.splitlines() if row][1:]

# Everybody's numbers: long, so that none is found in a reply by accident.
ALICE, PARTNER, GROUP = 61_000_001, 61_000_002, 61_000_003
DAVE, ERIN, THEIRS = 62_000_001, 62_000_002, 62_000_003  # a stranger, the stranger's friend, their group
FOREIGN_USER, FOREIGN_GROUP = 63_000_001, 63_000_002  # only in the other app
NOBODY = 64_000_001
OTHER = "other"
MESSAGES = dict(zip(WHOSE, (1, 2, 3, 4, 5, 6, NOBODY), strict=True))  # how long each one's conversation is: its newest msg_id
TRANSACTIONS = dict(zip(WHOSE, range(71_000_001, 71_000_008), strict=True))
USED: list[tuple[str, int | None, str]] = [  # app, sender (None: the system), whose transaction
    (APP, ALICE, "own"),
    (APP, directory.ADMINISTRATOR_ID, "own"),
    (APP, None, "own"),
    (APP, PARTNER, "own group"),
    (APP, DAVE, "stranger"),
    (APP, ERIN, "other group"),
    (OTHER, ALICE, "their user"),
    (OTHER, directory.ADMINISTRATOR_ID, "their user"),
    (OTHER, FOREIGN_USER, "their group"),
    (OTHER, None, "their group"),
]
MEANINGS = {"transaction_id": TRANSACTIONS, "msg_id": MESSAGES, "msg_id_start": MESSAGES}  # where the id is not a user's or a group's
MINE, SECRET = "mine-4c1d", "secret-9f3a"  # contents: of the caller's own conversations, of all others
SHAPES = {"Messages": keys.MESSAGES, "Inbox": keys.INBOX, "Dedup": keys.DEDUP, "Directory": keys.DIRECTORY}
KEYS = {table: [shape.partition, *(shape.sort or ())[:1]] for table, shape in SHAPES.items()}
LATE = "9999999999999"  # ms, of a cursor that lies before everything
READS = {"GetItem", "BatchGetItem", "Query", "GetSecretValue"}


class Cell(NamedTuple):
    operation: str
    parameter: str
    caller: str
    whose: str

    @property
    def app(self) -> str:
        """Whose business it is: the other app's where the caller says so."""
        return OTHER if self.parameter == "app_id" and self.whose.startswith("their") else APP

    @property
    def named(self) -> int | str:
        """Whose id it is, in the meaning that the parameter has."""
        me = ALICE if self.caller == "user" else directory.ADMINISTRATOR_ID
        number = dict(zip(WHOSE, (me, GROUP, DAVE, THEIRS, FOREIGN_USER, FOREIGN_GROUP, NOBODY), strict=True))[self.whose]
        if self.parameter == "app_id":
            return {"own": APP, "their user": OTHER, "their group": OTHER}.get(self.whose, str(number))
        if self.parameter in MEANINGS:
            return MEANINGS[self.parameter][self.whose]
        return PARTNER if self.whose == "own" and self.parameter.startswith(("opposite_id", "conversation_id")) else number

    @property
    def verdict(self) -> str:
        """What the table says."""
        return ROWS[self.row][3 + WHOSE.index(self.whose)]

    @property
    def row(self) -> int:
        """The first row of the table that fits."""
        mine = (self.operation, self.parameter, self.caller)
        return next(
            at for at, row in enumerate(ROWS) if all(word == "*" or one in word.split(",") for one, word in zip(mine, row, strict=False))
        )

    @property
    def is_refused(self) -> bool:
        return self.verdict not in ("200", "page", "empty")


class Answer(NamedTuple):
    status: int
    envelope: dict[str, Any]
    calls: list[str]  # to AWS, by name
    changed: list[str]  # keys of the rows that are new, gone or not as before

    def fits(self, verdict: str) -> bool:
        code, data = self.envelope["code"], self.envelope["data"]
        if verdict == "page":
            return code == 200 and MINE in json.dumps(data["messages"])
        if verdict == "empty":
            return code == 200 and (data["messages"], data["is_last"], data["next_msg_id"]) == ([], True, 0)
        return str(code) == verdict

    def without(self, named: int | str) -> tuple[int, str]:
        """What the caller is told, whatever the id was that it named."""
        return self.status, re.sub(rf"\b{named}\b", "<id>", json.dumps(self.envelope))


def parameters(operation: str) -> list[str]:
    """Every id that an operation takes, from the models of its request and of the headers."""
    module = importlib.import_module(f"endpoints.{operation}")
    fields = [name for name in module.handler.__wrapped__.__annotations__["request"].model_fields if name not in NO_IDS]
    return [
        variant
        for name in [*fields, *AppHeader.model_fields, *ActingHeaders.model_fields]
        for variant in VARIANTS.get(f"{operation} {name}", VARIANTS.get(name, (name,)))
    ]


OPERATIONS = {function.name: function.routes[0].split() for function in FUNCTIONS if function.is_endpoint}  # its name: verb and path
CELLS = [Cell(*cell) for name in OPERATIONS for cell in product((name,), parameters(name), CALLERS, WHOSE)]


# --- the world in which each cell is asked


class Town:
    """Two apps; in ours, the caller and the administrator each with a partner and a group, and strangers with theirs."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.app(OTHER)
        for number in (ALICE, PARTNER, DAVE, ERIN):
            world.user(number=number)
        for number in (FOREIGN_USER, ALICE):  # whoever has the caller's own number there is still somebody else
            world.user(app=OTHER, number=number)
        world.group(ALICE, directory.ADMINISTRATOR_ID, PARTNER, number=GROUP)
        world.group(DAVE, ERIN, number=THEIRS)
        world.group(FOREIGN_USER, directory.ADMINISTRATOR_ID, app=OTHER, number=FOREIGN_GROUP)

        for caller in (ALICE, directory.ADMINISTRATOR_ID):
            self._talk(APP, caller, 1, PARTNER, MESSAGES["own"], MINE)
        self._talk(APP, ALICE, 2, GROUP, MESSAGES["own group"], MINE)
        self._talk(APP, DAVE, 1, ERIN, MESSAGES["stranger"], SECRET)
        self._talk(APP, DAVE, 2, THEIRS, MESSAGES["other group"], SECRET)
        self._talk(OTHER, FOREIGN_USER, 1, directory.ADMINISTRATOR_ID, MESSAGES["their user"], SECRET)
        self._talk(OTHER, FOREIGN_USER, 2, FOREIGN_GROUP, MESSAGES["their group"], SECRET)
        for app, user, whose in USED:
            self._use(app, user, TRANSACTIONS[whose])
        world.drain()
        self.tokens = {"user": world.token(ALICE), "admin": world.admin(), "foreign": world.admin(OTHER)}
        self.rows = world.snapshot()
        for app in (APP, OTHER):  # the container knows both apps and its keys
            self.world.http("GET", "/message/unread", world.admin(app), app=app)

    def _talk(self, app: str, sender: int, type_: int, target: int, times: int, content: str) -> None:
        for _ in range(times):
            self._direct("send", app, sender, {"type": type_, "targets": [target], "content": content})

    def _use(self, app: str, user: int | None, transaction: int) -> None:
        """Both operations' transaction, used for something else than any cell asks for. (A notification may come from nobody.)"""
        body = {"type": 1, "targets": [user or directory.ADMINISTRATOR_ID], "content": SECRET, "transaction_id": transaction}
        self._direct("notify", app, None, body | ({"from_user_id": user} if user else {}))
        if user:
            self._direct("send", app, user, body)

    def _direct(self, name: str, app: str, user: int | None, body: dict[str, Any]) -> None:
        reply = self.world.direct(name, {"app_id": app, "body": body} | ({"user_id": user} if user else {}))
        assert reply["code"] == 200, reply

    def ask(self, cell: Cell) -> Answer:
        """A request that is good in all but the cell's parameter, which names what the cell says."""
        headers, fields = {"app_id": APP}, self.good(cell.operation)
        value = cell.named
        if cell.parameter in (*AppHeader.model_fields, *ActingHeaders.model_fields):
            headers[cell.parameter] = str(value)
        elif cell.parameter.startswith("targets"):
            fields |= {"type": int(cell.parameter[-1]), "targets": [value]}
        elif cell.parameter == "cursor":
            fields["cursor"] = f"{LATE}-{value}"
        else:
            name, _, msg_id = cell.parameter.partition(" + ")
            fields |= {name: value} | ({msg_id: 1} if msg_id else {})
        verb, path = OPERATIONS[cell.operation]
        part = "body" if verb == "POST" else "query"
        with self.world.calls() as calls:
            if cell.caller == "direct":
                status, envelope = 200, self.world.direct(cell.operation, {**headers, part: fields})
            else:
                request: dict[str, Any] = {part: fields, "headers": headers}
                reply = self.world.http(verb, path, self.tokens[cell.caller], **request)
                status, envelope = reply["statusCode"], json.loads(reply["body"])
        made = sorted(call.operation for call in calls)
        return Answer(status, envelope, made, [] if READS.issuperset(made) else self.restore())

    def good(self, operation: str) -> dict[str, Any]:
        """What each operation is asked where the cell says nothing else: about the caller's partner."""
        return {
            "history": {"opposite_id": PARTNER},
            "ack": {"conversation_id": PARTNER},
            "forget": {"conversation_id": PARTNER},
            "unread": {},
        }.get(operation, {"type": 1, "targets": [PARTNER], "content": "hello"})

    def restore(self) -> list[str]:
        """Puts everything back as it was; returns the keys of the rows that had changed."""
        client, changed = store.dynamodb(), []
        for table, before in self.rows.items():
            names = KEYS[table]
            after = {tuple(row[name] for name in names): row for row in self.world.rows(table)}
            for row in before:
                key = tuple(row[name] for name in names)
                if after.pop(key, None) != row:
                    changed.append("#".join(map(str, key)))
                    client.put_item(TableName=table, Item=store.pack(row))
            for key in after:
                changed.append("#".join(map(str, key)))
                client.delete_item(TableName=table, Key=store.pack(dict(zip(names, key, strict=True))))
        return changed


@pytest.fixture
def town(world: World, monkeypatch: pytest.MonkeyPatch) -> Town:
    for memory in (directory._apps, standing._revoked, tokens._ring):
        monkeypatch.setattr(memory, "seconds", 10**9)  # no cell pays for what has become too old during another one
    return Town(world)


Answers = dict[Cell, Answer]
KNOWN: dict[str, Answers] = {}


@pytest.fixture(params=OPERATIONS)
def answers(request: pytest.FixtureRequest) -> Answers:
    """Of an operation, to every one of its cells; asked once."""
    operation = request.param
    if operation not in KNOWN:
        town: Town = request.getfixturevalue("town")
        cells = [cell for cell in CELLS if cell.operation == operation]
        refused = {cell: town.ask(cell) for cell in cells if cell.is_refused}
        assert town.world.snapshot() == town.rows  # nothing that is to be refused has left a trace
        KNOWN[operation] = refused | {cell: town.ask(cell) for cell in cells if not cell.is_refused}
        assert town.world.snapshot() == town.rows
        assert town.world.jobs() == []
    return KNOWN[operation]


def test_the_matrix_is_the_whole_product_of_its_dimensions(record_property: Callable[[str, object], None]) -> None:
    rows = {(cell.operation, cell.parameter) for cell in CELLS}
    assert Counter(operation for operation, _ in rows) == {"send": 7, "notify": 7, "history": 5, "ack": 6, "forget": 5, "unread": 4}
    assert len(set(CELLS)) == len(CELLS) == len(rows) * len(CALLERS) * len(WHOSE) == 952
    record_property("cells of the authorization matrix", len(CELLS))


def test_a_direct_event_takes_the_same_ids_as_the_headers() -> None:
    assert set(DirectEvent.model_fields) - {"query", "body"} == {*AppHeader.model_fields, *ActingHeaders.model_fields}


def test_the_table_speaks_of_every_cell_and_of_nothing_else() -> None:
    assert {cell.row for cell in CELLS} == set(range(len(ROWS)))
    assert {len(row) for row in ROWS} == {3 + len(WHOSE)}


def test_whose_an_id_is_decides_as_the_table_says(answers: Answers) -> None:
    assert len(answers) == sum(cell.operation == next(iter(answers)).operation for cell in CELLS)
    assert [f"not {cell.verdict}: {cell} {answer}" for cell, answer in answers.items() if not answer.fits(cell.verdict)] == []


def test_a_refusal_carries_a_code_and_a_reason_and_no_data(answers: Answers) -> None:
    for cell, answer in answers.items():
        if cell.is_refused:
            assert (answer.status, answer.envelope["data"], set(answer.envelope)) == (200, None, {"code", "data", "message"}), cell
            assert isinstance(answer.envelope["message"], str)


def test_a_refusal_writes_nothing(answers: Answers) -> None:
    assert {cell: answer.changed for cell, answer in answers.items() if cell.is_refused and answer.changed} == {}


def test_what_is_another_apps_and_what_is_nobodys_get_the_same_answer_at_the_same_cost(answers: Answers) -> None:
    for cell, answer in answers.items():
        if cell.whose.startswith("their") and cell.parameter != "app_id":  # whether an app exists, everybody may know
            nobodys = cell._replace(whose="nobody")
            assert answer.without(cell.named) == answers[nobodys].without(nobodys.named), cell
            assert answer.calls == answers[nobodys].calls, cell


def test_refusals_for_the_same_reason_do_not_tell_whose_the_id_was(answers: Answers) -> None:
    told: dict[tuple[str, ...], set[tuple[int, str]]] = {}
    for cell, answer in answers.items():
        if cell.whose != "own" and (cell.is_refused or cell.verdict == "empty"):
            told.setdefault((cell.parameter, cell.caller, cell.app, cell.verdict), set()).add(answer.without(cell.named))
    assert {reason: replies for reason, replies in told.items() if len(replies) > 1} == {}


def test_no_reply_holds_what_strangers_said_or_who_they_are(answers: Answers) -> None:
    strangers = {APP: (DAVE, ERIN, THEIRS, FOREIGN_USER, FOREIGN_GROUP), OTHER: (ALICE, GROUP, DAVE, ERIN, THEIRS)}
    for cell, answer in answers.items():
        reply = json.dumps(answer.envelope)
        assert SECRET not in reply, (cell, answer)
        if (cell.parameter, cell.whose) != ("user_id", "stranger"):  # an admin that acts as a stranger sees whom the stranger knows
            seen = set(re.findall(r"\d+", reply)) & set(map(str, strangers[cell.app]))
            assert seen <= {str(cell.named)}, (cell, answer)


def test_no_request_changes_a_row_of_another_app(answers: Answers) -> None:
    for cell, answer in answers.items():
        assert {key.split("#")[0] for key in answer.changed} <= {cell.app}, (cell, answer)


def test_a_user_changes_only_rows_that_are_the_users_own_or_shared_with_the_user(answers: Answers) -> None:
    for cell, answer in answers.items():
        if cell.caller == "user":
            for key in answer.changed:
                assert {str(ALICE), str(GROUP)} & set(key.split("#")), (cell, key)


def lines() -> list[str]:
    """The table with every rule unfolded."""
    return [
        f"{first.operation:8}{first.parameter:26}{first.caller:9}" + "".join(f"{cell.verdict:13}" for cell in CELLS[at : at + len(WHOSE)])
        for at, first in enumerate(CELLS)
        if at % len(WHOSE) == 0
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join([" " * 43 + "".join(f"{whose:13}" for whose in WHOSE), *lines(), ""]))
