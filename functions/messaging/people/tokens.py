"""Tokens: who a client is. JWTs signed with keys from one secret, verified inside the function.

The secret is a JSON object: `current` names the key that signs new tokens, every other field is a key under its `kid`.
"""

import time
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import boto3
import jwt
from botocore.exceptions import BotoCoreError, ClientError
from jwt.utils import base64url_decode
from pydantic import ValidationError

from messaging.base import store
from messaging.base.errors import ApiError, Code
from messaging.base.settings import settings
from messaging.base.telemetry import logger
from messaging.base.wire import json_object
from messaging.people.models import Claims

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

ALGORITHM = "HS256"  # a constant: what a token says of its algorithm is not asked
CURRENT = "current"
CACHE_S = 45  # how long the keys are taken from memory: a rotation takes effect within a minute
REFRESH_S = 5  # an unknown `kid` has the keys fetched afresh, at most this often
MAX_BYTES = 4096  # ours have some 300
LEEWAY_S = 5  # how far the clock of whoever signs may be ahead


@cache
def _secrets() -> "SecretsManagerClient":
    return boto3.client("secretsmanager", config=store.CONFIG)


store.at_start(_secrets)


def keyring(afresh: bool = False) -> dict[str, str]:
    """The secret's content, at most `CACHE_S` old; ApiError STORE_FAILED where it cannot be had: no keys, no entry."""
    if afresh:
        _keyring.cache_clear()
    return _keyring(int(time.monotonic() // CACHE_S))


@lru_cache(1)
def _keyring(period: int) -> dict[str, str]:
    try:
        return json_object(_secrets().get_secret_value(SecretId=settings().token_secret)["SecretString"])
    except (BotoCoreError, ClientError, KeyError, ValueError) as error:
        logger.exception("the signing keys cannot be read")
        raise ApiError(Code.STORE_FAILED, "the signing keys cannot be read, try again") from error


@lru_cache(1)
def _refreshed(period: int) -> dict[str, str]:
    return keyring(afresh=True)


def _key(kid: object) -> str | None:
    if not isinstance(kid, str) or kid == CURRENT:
        return None
    return keyring().get(kid) or _refreshed(int(time.monotonic() // REFRESH_S)).get(kid)


def sign(claims: Claims) -> str:
    """A token that says this, signed with the current key."""
    keys = keyring(afresh=True)
    kid = keys[CURRENT]
    return jwt.encode(claims.model_dump(exclude_defaults=True), keys[kid], ALGORITHM, {"kid": kid})


def issue(app_id: str, user_id: int, role: int, lives_s: float, now_ms: int) -> str:
    """A token for this user from now on. `iat` has milliseconds, so that one issued right after a revocation is good."""
    now = now_ms / 1000
    return sign(Claims(app=app_id, sub=str(user_id), role=role, iat=now, exp=now + lives_s))


def verify(token: str, app_id: str, revoked: dict[str, int], now_ms: int) -> Claims:
    """The claims of a token for this app; ApiError TOKEN_EXPIRED for one that ran out or was revoked, TOKEN_INVALID for any other.

    `revoked`: user id → since when older tokens are refused, ms. A token counts as revoked when it was issued before.
    """
    claims = _claims(token)
    if claims is None or claims.app != app_id or max(claims.iat, claims.nbf) > now_ms / 1000 + LEEWAY_S:
        raise ApiError(Code.TOKEN_INVALID, "access-token: invalid for this app")
    if claims.exp * 1000 <= now_ms:
        raise ApiError(Code.TOKEN_EXPIRED, "access-token: expired, log in again")
    if claims.iat * 1000 < revoked.get(claims.sub, 0):
        raise ApiError(Code.TOKEN_EXPIRED, "access-token: revoked, log in again")
    return claims


def _claims(token: str) -> Claims | None:
    """What a well-signed token says, whatever it says; None for any other."""
    try:
        if len(token) > MAX_BYTES:
            return None
        header = json_object(base64url_decode(token.partition(".")[0]).decode())  # PyJWT's own way takes the whole token apart twice
        key = _key(header.get("kid"))
        if key is None:
            return None
        signed = jwt.api_jws.decode_complete(token, key, [ALGORITHM])
        return Claims.model_validate(json_object(signed["payload"].decode()))
    except (jwt.InvalidTokenError, ValidationError, ValueError, OverflowError):
        return None
