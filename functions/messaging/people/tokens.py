"""Tokens: what a client shows. JWTs signed with the key of the app, verified inside the function.

The stack's secret is a JSON object: `current` names the key that signs new tokens, every other field is a key under its kid. An app's key
is derived from the stack's, the app and a generation that the app's item keeps, and so nowhere stored: whoever has it can sign for this
app alone. Its kid is `kid of the stack's key.generation`. Apps of 0.1.0 also take what the stack's own keys have signed.
"""

import hmac
import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import jwt
from botocore.exceptions import BotoCoreError, ClientError
from jwt.utils import base64url_decode
from pydantic import ValidationError

from messaging.base import keys, store
from messaging.base.errors import ApiError, Code
from messaging.base.memory import Memory
from messaging.base.settings import settings
from messaging.base.telemetry import logger
from messaging.base.wire import json_object
from messaging.people import directory
from messaging.people.models import Claims

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

ALGORITHM = "HS256"  # a constant: what a token says of its algorithm is not asked
CURRENT = "current"
OF_AN_APP = re.compile(r"(.+)\.(0|[1-9][0-9]{0,8})", re.DOTALL)  # a kid: the stack's key, the generation
CACHE_S = 45  # how long the keys are taken from memory: a rotation takes effect within a minute
REFRESH_S = 5  # an unknown `kid` has the keys fetched afresh, and a failure to fetch them is asked about again, at most this often
MAX_BYTES = 4096  # ours have some 300
LEEWAY_S = 5  # how far the clock of whoever signs may be ahead
DAY_S = 86400


class Ring(NamedTuple):
    """The secret's content; `current` is the kid of the key that signs."""

    current: str
    keys: dict[str, str]


class Key(NamedTuple):
    """What a token is signed with; `of_stack`: by the stack's own key, as in 0.1.0."""

    kid: str
    value: str
    of_stack: bool = False


_ring: Memory[str, Ring] = Memory(CACHE_S, 1)
_refreshed: Memory[str, bool] = Memory(REFRESH_S, 1)
_failed: Memory[str, bool] = Memory(REFRESH_S, 1)


@cache
def _secrets() -> "SecretsManagerClient":
    return boto3.client("secretsmanager", config=store.CONFIG)


store.at_start(_secrets)


def keyring() -> Ring:
    """The keys, at most `CACHE_S` old; ApiError STORE_FAILED where they cannot be had: no keys, no entry."""
    return _ring.get(settings().token_secret) or _asked()


def _asked() -> Ring:
    """The keys as they are now, unless they could not be had a moment ago."""
    if _failed.get(settings().token_secret):
        raise _out_of_reach()
    return _fetched()


def _fetched() -> Ring:
    """The keys as they are now. What is in memory is replaced by keys that were read, and by nothing else."""
    secret = settings().token_secret
    try:
        content = json_object(_secrets().get_secret_value(SecretId=secret)["SecretString"])
    except (BotoCoreError, ClientError, KeyError, ValueError) as error:
        logger.exception("the signing keys cannot be read")
        _failed.put(secret, True)
        raise _out_of_reach() from error
    keys = {kid: value for kid, value in content.items() if kid != CURRENT and isinstance(value, str) and value}
    ring = Ring(str(content.get(CURRENT)), keys)
    _ring.put(secret, ring)
    return ring


def _out_of_reach() -> ApiError:
    return ApiError(Code.STORE_FAILED, "the signing keys cannot be read, try again")


def _stack_key(kid: str) -> str | None:
    """One of the stack's keys. For one that is not known yet they are fetched afresh; that cannot hurt who has another."""
    secret, ring = settings().token_secret, keyring()
    if kid not in ring.keys and not _refreshed.get(secret):
        ring = _asked()
        _refreshed.put(secret, True)
    return ring.keys.get(kid)


def _key(kid: object, app: store.Item) -> Key | None:
    """The key that this kid names for this app; None for one that is unknown, retired, or not this app's."""
    if not isinstance(kid, str):
        return None
    derived = None if kid in keyring().keys else OF_AN_APP.fullmatch(kid)
    value = _stack_key(derived[1] if derived else kid)
    if value is None:
        return None
    if not derived:
        return Key(kid, value, of_stack=True) if directory.OLDEST_KEY not in app else None
    generation = int(derived[2])
    return _derived(derived[1], value, app, generation) if generation >= app.get(directory.OLDEST_KEY, 0) else None


def _derived(kid: str, stack_key: str, app: store.Item, generation: int) -> Key:
    """An app that is made again under its old name is another one, by its nonce."""
    meaning = keys.signing(app["entity"], generation, app["nonce"])
    return Key(f"{kid}.{generation}", hmac.digest(stack_key.encode(), meaning.encode(), "sha256").hex())


def signing_key(app: store.Item) -> Key:
    """The key with which tokens of this app are signed now."""
    kid, held = _fetched()
    if kid not in held:
        raise ApiError(Code.STORE_FAILED, f"the secret's `{CURRENT}` names no key of it")
    return _derived(kid, held[kid], app, app.get(directory.NEWEST_KEY, 0))


def sign(claims: Claims, app: store.Item) -> str:
    """A token that says this, signed with the app's current key."""
    key = signing_key(app)
    return jwt.encode(claims.model_dump(exclude_defaults=True), key.value, ALGORITHM, {"kid": key.kid})


def issue(app_id: str, user_id: int, role: int, lives_s: float, now_ms: int) -> str:
    """A token for this user from now on, good also where it is made in the millisecond of a revocation.

    ApiError UNKNOWN_APP, UNKNOWN_USER; BAD_PARAMETER where it would live too long.
    """
    app, profile = store.get_many([directory.app_ref(app_id), directory.ref(app_id, user_id)])
    if app is None:
        raise directory.no_app(app_id)
    if profile is None or profile["what"] != "user":
        raise directory.missing("user", "user", [user_id])
    longest_s = settings().token_max_days * DAY_S
    if lives_s > longest_s:
        raise ApiError(Code.BAD_PARAMETER, f"expires_in: a token lives for {longest_s} seconds at most (token_max_days)")
    now, rev = now_ms / 1000, directory.revoked_ms(app, profile, user_id)
    return sign(Claims(app=app_id, sub=str(user_id), role=role, iat=now, exp=now + lives_s, rev=rev), app)


def verify(token: str, app: store.Item, now_ms: int, known: dict[str, Any]) -> Claims:
    """The claims of a token for this app, as far as the token itself tells; whether its user may come in, `standing` says.

    ApiError TOKEN_EXPIRED for one that ran out, TOKEN_INVALID for any other that is not good. `known` is told what is certain, also of a
    token that is refused: `kid` and `claims`.
    """
    claims = _claims(token, app, known)
    if (
        claims is None
        or claims.app != app["entity"]
        or max(claims.iat, claims.nbf) > now_ms / 1000 + LEEWAY_S
        or claims.exp > claims.iat + settings().token_max_days * DAY_S
    ):
        raise ApiError(Code.TOKEN_INVALID, "access-token: invalid for this app")
    known["claims"] = claims
    if claims.exp * 1000 <= now_ms:
        raise ApiError(Code.TOKEN_EXPIRED, "access-token: expired, log in again")
    return claims


def _claims(token: str, app: store.Item, known: dict[str, Any]) -> Claims | None:
    """What a well-signed token says, whatever it says; None for any other."""
    try:
        if len(token) > MAX_BYTES:
            return None
        header = json_object(base64url_decode(token.partition(".")[0]).decode())  # PyJWT's own way takes the whole token apart twice
        key = _key(header.get("kid"), app)
        if key is None:
            return None
        known["kid"] = key.kid
        signed = jwt.api_jws.decode_complete(token, key.value, [ALGORITHM])
        claims = Claims.model_validate(json_object(signed["payload"].decode()))
    except (jwt.InvalidTokenError, ValidationError, ValueError, OverflowError):
        return None
    # The stack's keys are no app's own: of an app that was made again, they may have signed for the one before.
    return None if key.of_stack and claims.iat < app["created_at"] // 1000 else claims
