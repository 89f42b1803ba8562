"""The signing keys: adding one, and removing one that no valid token was signed with any more.

A key's `kid` carries the second since when it signs (`k6b03f2a4`, of 0.1.0 `k-20261123T064500Z-3f9c`), so that the secret needs no field
that functions of an earlier release would take for a key. The stack's first key has no time: it is older than every other.

An app's key is derived (`messaging/people/tokens.py`): changing one is counting its generation up in the app's item.
"""

import json
import re
import secrets
import string
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import boto3

from messaging.base import store
from messaging.base.errors import ApiError, Code
from messaging.base.settings import settings
from messaging.people import directory
from messaging.people.tokens import CURRENT

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

KID = re.compile(r"k([0-9a-f]{8})")  # seconds since the epoch
KID_OF_0_1_0 = re.compile(r"k-(\d{8}T\d{6})Z-[0-9a-f]{4}")
ALPHABET = string.ascii_letters + string.digits
KEY_LENGTH = 64  # characters: 380 bits for HS256, as many as the key that the stack is born with
DAY_MS = 86_400_000
NEXT = "PARLEY_NEXT"  # the label of a version until it becomes the current one; a version needs one
ROUNDS = 8  # times that somebody else may change the keys under us

Secret = dict[str, str]


class Key(NamedTuple):
    """One key. `since_ms`: when it began to sign; 0 for a key that does not say. `until_ms`: when it stopped; None while it signs, or
    where that cannot be told."""

    kid: str
    since_ms: int
    until_ms: int | None
    signs: bool


@cache
def _client() -> "SecretsManagerClient":
    return boto3.client("secretsmanager", config=store.CONFIG)


def began_ms(kid: str) -> int:
    """When this key began to sign, ms; 0 where its name does not say."""
    if found := KID.fullmatch(kid):
        return int(found[1], 16) * 1000
    if found := KID_OF_0_1_0.fullmatch(kid):
        return int(datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()) * 1000
    return 0


def keys_of(secret: Secret) -> list[Key]:
    """Every key, oldest first. A key stopped signing when the next one began, unless an older one was made the current one by hand."""
    kids = sorted((kid for kid in secret if kid != CURRENT), key=lambda kid: (began_ms(kid), kid))
    orderly = bool(kids) and secret[CURRENT] == kids[-1]
    found = []
    for at, kid in enumerate(kids):
        stopped = next((began_ms(later) for later in kids[at + 1 :] if began_ms(later) > began_ms(kid)), None) if orderly else None
        found.append(Key(kid, began_ms(kid), stopped, kid == secret[CURRENT]))
    return found


def retirable_ms(key: Key, longest_token_days: int) -> int | None:
    """From when on no token of this key can be valid, ms; None where that cannot be told, or while it signs."""
    return None if key.signs or key.until_ms is None else key.until_ms + longest_token_days * DAY_MS


def read() -> list[Key]:
    return keys_of(_read()[1])


def rotate(now_ms: int) -> Key:
    """Adds a key, with which every token is signed from now on; the others stay good for what they have signed."""
    value = "".join(secrets.choice(ALPHABET) for _ in range(KEY_LENGTH))

    def add(secret: Secret) -> Secret:
        # Two at the same time, or a clock that is behind: still one after the other.
        since_ms = max(now_ms, max(map(began_ms, secret)) + 1000)
        kid = f"k{since_ms // 1000:08x}"
        return {**secret, kid: value, CURRENT: kid}

    return next(key for key in keys_of(_change(add)) if key.signs)


def rotate_app(app_id: str) -> int:
    """The app's tokens are signed with a new key from now on, those of the others stay good; returns the key's generation.

    Two who do it at the same time make one new key.
    """
    newest = int(_app(app_id).get(directory.NEWEST_KEY, 0)) + 1
    _move(app_id, directory.NEWEST_KEY, newest)
    return newest


def retire_app(app_id: str) -> int:
    """Of the app's keys only the one that signs now stays good, and none of the stack's own; returns its generation."""
    newest = int(_app(app_id).get(directory.NEWEST_KEY, 0))
    _move(app_id, directory.OLDEST_KEY, newest)
    return newest


def _move(app_id: str, which: str, generation: int) -> None:
    """Forward only. Where it is as far already, an earlier attempt was it, or somebody else."""
    there = f"attribute_exists(entity) AND (attribute_not_exists({which}) OR {which} < :{which})"
    store.update(directory.app_ref(app_id), {which: generation}, there)


def _app(app_id: str) -> store.Item:
    item = store.get(directory.app_ref(app_id))
    if item is None:
        raise directory.no_app(app_id)
    return item


def retire(now_ms: int, longest_token_days: int, kid: str | None = None, force: bool = False) -> str:
    """Removes a key, the oldest one unless `kid` names another; returns which.

    Only once no token of it can be valid any more, unless forced. ApiError BAD_PARAMETER that says why not.
    """
    removed = ""

    def remove(secret: Secret) -> Secret:
        nonlocal removed
        found = keys_of(secret)
        chosen = next((key for key in found if key.kid == kid), None) if kid else next((key for key in found if not key.signs), None)
        if chosen is None:
            known = ", ".join(key.kid for key in found)
            told = f"there is no key {kid}, there are {known}" if kid else f"{known} is the only key: rotate first"
            raise ApiError(Code.BAD_PARAMETER, told)
        if chosen.signs:
            raise ApiError(Code.BAD_PARAMETER, f"{chosen.kid} signs the new tokens: rotate first")
        good_from = retirable_ms(chosen, longest_token_days)
        if not force and (good_from is None or good_from > now_ms):
            raise ApiError(Code.BAD_PARAMETER, _why_not(chosen, good_from, longest_token_days))
        removed = chosen.kid
        return {name: value for name, value in secret.items() if name != removed}

    _change(remove)
    return removed


def _why_not(key: Key, good_from: int | None, longest_token_days: int) -> str:
    if good_from is None or key.until_ms is None:
        return f"when {key.kid} stopped signing cannot be told, because `current` names a key that is not the newest; --force removes it"
    return (
        f"{key.kid} signed tokens until {_day(key.until_ms)}, and a token may be valid for {longest_token_days} days "
        f"(--longest-token-days): retire it after {_day(good_from)}, or with --force log out whoever holds one"
    )


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def _read() -> tuple[str, Secret]:
    """The current version's id and content; ApiError BAD_PARAMETER where it is not what the functions expect."""
    reply = _client().get_secret_value(SecretId=settings().token_secret)
    try:
        secret = json.loads(reply["SecretString"])
    except (KeyError, ValueError):
        secret = None
    if not isinstance(secret, dict) or not all(isinstance(value, str) and value for value in secret.values()):
        raise ApiError(Code.BAD_PARAMETER, "the secret is not a JSON object of keys by their kid")
    if secret.get(CURRENT) not in secret or secret[CURRENT] == CURRENT:
        raise ApiError(Code.BAD_PARAMETER, f"the secret's `{CURRENT}` names no key of it")
    return reply["VersionId"], secret


def _change(change: Callable[[Secret], Secret]) -> Secret:
    """Reads, changes and writes the secret; whoever changed it in between is not overwritten.

    A new value by itself would overwrite: instead it is stored beside the current one, and the label AWSCURRENT is moved to it from the
    version that was read. Secrets Manager refuses that when the label has moved on.
    """
    client, secret_id = _client(), settings().token_secret
    for round_ in range(ROUNDS):
        if round_:
            store.backoff(round_)
        version, secret = _read()
        changed, mine = change(secret), str(uuid.uuid4())
        client.put_secret_value(SecretId=secret_id, ClientRequestToken=mine, SecretString=json.dumps(changed), VersionStages=[NEXT])
        try:
            client.update_secret_version_stage(
                SecretId=secret_id, VersionStage="AWSCURRENT", MoveToVersionId=mine, RemoveFromVersionId=version
            )
        except (client.exceptions.InvalidParameterException, client.exceptions.InvalidRequestException):
            if _read()[0] != mine:  # else it had taken effect, and only its reply was lost
                continue
        return changed
    raise ApiError(Code.STORE_FAILED, "somebody else keeps changing the keys, try again")
