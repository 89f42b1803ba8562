"""What a stack of 0.1.0 holds when it is upgraded in the middle of its work: made by the handlers of 0.1.0 themselves.

Run in a checkout of that release, with the path of the file to write:
    PYTHONPATH=functions:. python fill_0_1_0.py 0.1.0.data.json

Everything random comes from a seed. What is told beside the tables (`expected`) is what 0.1.0 itself answers once all is delivered.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import jwt

from messaging import directory, tokens
from tests.fast_world import FastWorld, fast_world

TEXT, COMMAND = 0, 6
SMALL, LARGE = 2001, 2002  # groups: written member by member; above the limit of this world, read by its head
PUSH_LIMIT = 4
STEPS = 500
USERS = range(1001, 1007)
REVOKED, ERASED = 1005, 1006
WEEK_S = 7 * 86_400


def live(world: FastWorld, rng: random.Random, acting: list[int]) -> None:
    """A while in the life of these users: they write, in every way that counts for nobody or not for themselves, read and forget."""
    for step in range(STEPS):
        world.now_ms += rng.randint(1, 5_000)
        who, act = rng.choice(acting), rng.random()
        group = rng.choice([SMALL, LARGE])
        kind = {"content_type": COMMAND} if rng.random() < 0.2 else {"content": f"message {step}"}
        if act < 0.3:
            world.post(who, [rng.choice([user for user in USERS if user != who])], **kind)
        elif act < 0.6:
            world.post(who, [group], type=2, **kind)
        elif act < 0.65:
            world.direct(
                "notify", {"app_id": "demo", "body": {"type": 1, "targets": [who], "content_type": TEXT, "content": f"notice {step}"}}
            )
        elif act < 0.8:
            world.drain()
        elif act < 0.9:
            number = rng.choice([*world.unread(who), who])
            world.ack(who, number, **({"msg_id": rng.randint(1, 3)} if rng.random() < 0.5 else {}))
        elif act < 0.92:
            world.forget(who, rng.choice([*world.unread(who), who]))
        elif act < 0.95:
            world.history(who, rng.choice([*world.unread(who), SMALL if who in (1001, 1002, 1003) else LARGE]), limit=5)


def token(world: FastWorld, user: int, app: str = "demo") -> dict[str, Any]:
    """What a token says and which key has signed it; whoever reads this signs it again."""
    made = world.token(user, lives_s=WEEK_S, app=app)
    return {"kid": jwt.get_unverified_header(made)["kid"], "claims": jwt.decode(made, options={"verify_signature": False})}


def seen(world: FastWorld, user: int) -> dict[str, Any]:
    """A user's list, and what each conversation in it holds for that user."""
    nums = world.unread(user)
    return {"unread": nums, "contents": {number: world.contents(user, number) for number in nums}}


def main(path: str) -> None:
    rng = random.Random("0.1.0")
    settings = {"PUSH_LIMIT_MEMBERS": str(PUSH_LIMIT), "CONVERSATION_RATE_PER_SECOND": "100", "CONVERSATION_BURST_MESSAGES": "50"}
    with fast_world(**settings) as world:
        for number in USERS:
            world.user(f"user {number}", number=number)
        world.group(1001, 1002, 1003, number=SMALL)
        world.group(*USERS, number=LARGE, history_visible=True)
        world.app("other")
        world.user(number=1001, app="other")
        live(world, rng, list(USERS))
        requests = []
        for number, (sender, body) in enumerate(
            [
                (1001, {"type": 1, "targets": [1002, 1003], "content_type": TEXT, "content": "once"}),
                (1002, {"type": 2, "targets": [SMALL, LARGE], "content_type": TEXT, "content": "once each"}),
            ],
            1,
        ):
            body["transaction_id"] = number
            requests.append({"sender": sender, "body": body, "msg_ids": world.send(sender, **body)})
        revoked = {"before": token(world, REVOKED)}
        world.now_ms += 10_000
        directory.revoke("demo", REVOKED, world.now_ms)
        world.now_ms += 10_000
        revoked["after"] = token(world, REVOKED)
        erased = token(world, ERASED)
        world.leave(LARGE, ERASED)
        directory.erase("demo", ERASED, world.now_ms)
        world.now_ms += 60_000
        first = {str(user): token(world, user) for user in (1001, 1002, 1003, 1004)}
        world.keys |= {"k-20261123T120000Z-00ff": "9" * 64, "current": "k-20261123T120000Z-00ff"}  # `keys rotate`
        tokens._keyring.cache_clear()
        told = {
            "first_key": first,
            "second_key": {user: token(world, int(user)) for user in first},
            "other_app": token(world, 1001, "other"),
            "revoked": revoked,
            "erased": erased,
        }
        world.drain()
        live(world, rng, [1001, 1002, 1003, 1004])
        world.drain()
        for step in range(12):  # what is on its way when the stack is upgraded: records not delivered yet, and jobs of those that are
            who = 1001 + step % 4
            kind = {"content_type": COMMAND} if step % 3 == 2 else {"content": f"on its way {step}"}
            world.post(who, [LARGE if step % 2 else SMALL] if who != 1004 else [LARGE], type=2, **kind)
            world.post(who, [1001 + (step + 1) % 4], **kind)
        records = world.stream()
        world.deliver(records[: len(records) // 2])
        kept = {
            "settings": settings,
            "now_ms": world.now_ms,
            "secret": world.keys,
            "tables": {name: list(table.values()) for name, table in world.aws.tables.items()},
            "records": records[len(records) // 2 :],
            "jobs": world.aws.bodies,
            "tokens": told,
            "requests": requests,
        }
        world.deliver(kept["records"])
        world.drain()
        kept["expected"] = {str(user): seen(world, user) for user in (1001, 1002, 1003, 1004)}
    Path(path).write_text(json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
