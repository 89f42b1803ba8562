"""The edge of every endpoint: an HTTP or direct event in, the envelope out, and one map from errors to replies."""

import base64
import gzip
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial, wraps
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from messaging.base import clock, store
from messaging.base.errors import ApiError, Code
from messaging.base.telemetry import alias, logger
from messaging.base.wire import AppId, Id, Wire, json_object
from messaging.conversations.rules import PARTS
from messaging.people import directory, standing, tokens
from messaging.people.models import ADMIN, Caller

MAX_BODY_BYTES = 6 * 1024 * 1024  # of a synchronous Lambda invocation, AWS quota; API Gateway refuses larger ones with 413
REPLACEMENT = "\ufffd"  # what API Gateway makes of bytes that are no UTF-8: what arrives with it may not be what was sent
HEADERS = {
    "content-type": "application/json",
    "cache-control": "no-store",
    "strict-transport-security": "max-age=31536000",  # a year, seconds
    "x-content-type-options": "nosniff",
    "vary": "accept-encoding",
}
GZIPPED = {"content-encoding": "gzip"}
GZIP_FROM = 1024  # characters; a shorter reply fits into one packet as it is
GZIP_LEVEL = 6
ALIASES = {"app-id": "app_id", "user-id": "user_id", "group-id": "group_id"}  # some proxies drop headers with underscores
MAY_BE_EMPTY = ("user_id", "group_id")  # a header without a value counts as absent
BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
TOKEN_REFUSED = (Code.TOKEN_INVALID, Code.TOKEN_EXPIRED)
GZIP_TAKEN = re.compile(r"(^|,)\s*gzip\s*(;\s*q=(0\.0*[1-9]|1)[^,]*)?(,|$)", re.IGNORECASE)

Event = dict[str, Any]
Reply = dict[str, Any]  # `data`, and top-level fields beside it
W = TypeVar("W", bound=Wire)
P = TypeVar("P", dict[str, Any], str)


class DirectEvent(Wire):
    """What another AWS service invokes a function with; IAM has let it in."""

    app_id: AppId
    user_id: Id | None = None
    group_id: Id | None = None
    query: dict[str, Any] = Field(default_factory=dict)
    body: dict[str, Any] = Field(default_factory=dict)


class AppHeader(Wire):
    app_id: AppId


class ActingHeaders(Wire):
    """For whom, and with whose rights, an administrator acts."""

    user_id: Id | None = None
    group_id: Id | None = None


def endpoint(
    model: type[W], part: str, *, admin_only: bool = False, checks_user: bool = True
) -> Callable[[Callable[[Caller, W, int], Reply]], Callable[[Event, Any], Reply]]:
    """Makes a Lambda handler of `run(caller, request, now_ms) -> reply fields`.

    `part` of the request, `query` or `body`, is validated as `model`. `checks_user=False` for an endpoint that checks by itself
    whether a user that a caller only names exists.
    """

    def decorate(run: Callable[[Caller, W, int], Reply]) -> Callable[[Event, Any], Reply]:
        def answer(event: Event, http: bool, known: dict[str, Any]) -> Reply:
            caller = _http_caller(event, known) if http else _direct_caller(event, known)
            try:
                if admin_only and not caller.is_admin:
                    raise ApiError(Code.NO_PERMISSION, "access-token: an admin token is needed")
                fields = (_http_fields if http else _direct_fields)(event, part)
                return run(_with_named(caller, checks_user), _validated(model, fields), clock.now_ms())
            except ApiError as refused:
                if refused.code not in TOKEN_REFUSED:
                    caller.confirmed()  # who is calling comes before what is asked
                raise

        @wraps(run)
        def handler(event: Event, context: Any) -> Reply:
            started = time.perf_counter()
            http = isinstance(event, dict) and "routeKey" in event
            status, known = 200, dict[str, Any]()
            try:
                reply = {"code": Code.OK, "data": None, "message": None, **answer(event, http, known)}
            except Exception as error:
                refusal = _refusal(error, context)
                status = refusal.status
                reply = {"code": refusal.code, "data": None, "message": refusal.message}
            logger.info(
                run.__module__.rpartition(".")[2],
                extra={
                    "request_id": getattr(context, "aws_request_id", None),
                    "code": int(reply["code"]),
                    "ms": round((time.perf_counter() - started) * 1000),
                    "via": "http" if http else "direct",
                    **_who(known),
                },
            )
            if not http:
                return {**reply, "code": int(reply["code"])}
            return _http_reply(event, status, json.dumps(reply, ensure_ascii=False, separators=(",", ":")))

        return handler

    return decorate


def _who(known: Mapping[str, Any]) -> dict[str, Any]:
    """For the log: which app, whose token signed by which key, for which user, as far as it came out before the answer."""
    app, claims = known.get("app"), known.get("claims")
    who: dict[str, Any] = {"app": app["entity"]} if app else {}
    if "kid" in known:
        who["kid"] = known["kid"]
    if claims:
        who["role"] = claims.role
    user_id = known.get("user_id") or (claims and int(claims.sub))
    if app and user_id:
        who["user"] = alias(app["nonce"], user_id)
    return who


def _with_named(caller: Caller, checks_user: bool) -> Caller:
    """Whether those whom the caller names exist is asked beside the endpoint's first reads, too."""
    named: list[Callable[[], object]] = []
    if checks_user and not caller.vouched:
        named.append(partial(directory.require, caller.app_id, caller.user_id, "user", "user_id"))
    if caller.group_id is not None:
        named.append(partial(directory.require, caller.app_id, caller.group_id, "group", "group_id"))
    return replace(caller, checks=(*caller.checks, *named)) if named else caller


def _http_reply(event: Event, status: int, body: str) -> Event:
    """What API Gateway makes the reply of: compressed where that pays and the client takes it, because an HTTP API does not compress."""
    headers = event.get("headers")
    accepted = headers.get("accept-encoding") if isinstance(headers, dict) else None
    if len(body) < GZIP_FROM or not GZIP_TAKEN.search(str(accepted)):
        return {"statusCode": status, "headers": HEADERS, "body": body}
    packed = base64.b64encode(gzip.compress(body.encode(), GZIP_LEVEL, mtime=0)).decode()
    return {"statusCode": status, "headers": HEADERS | GZIPPED, "body": packed, "isBase64Encoded": True}


def _refusal(error: Exception, context: Any) -> ApiError:
    """What the caller is told. The unexpected is logged once, with its traceback, and told by request id only."""
    request_id = getattr(context, "aws_request_id", "unknown")
    if isinstance(error, ApiError):
        return error
    if store.is_outage(error):
        logger.exception("the store failed", extra={"request_id": request_id})
        return ApiError(Code.STORE_FAILED, "the store failed after retries, try again")
    logger.exception("unexpected", extra={"request_id": request_id})
    return ApiError(Code.INTERNAL, f"internal error, request {request_id}")


def _direct_caller(event: Any, known: dict[str, Any]) -> Caller:
    """IAM has let this caller in: an administrator of the app that it names."""
    direct = _validated(DirectEvent, event if isinstance(event, dict) else {})
    app = known["app"] = directory.app(direct.app_id)
    user_id = known["user_id"] = direct.user_id or app["admin_id"]
    return Caller(direct.app_id, user_id, True, direct.user_id is None, direct.group_id)


def _direct_fields(event: Event, part: str) -> Mapping[str, object]:
    fields = getattr(_validated(DirectEvent, event), part)
    return dict(fields)


def _http_caller(event: Event, known: dict[str, Any]) -> Caller:
    """Who calls, in this order: the app, whether it exists, the token, then for whom and with whose rights it acts."""
    headers = _headers(event)
    app_id = _validated(AppHeader, headers).app_id
    app = known["app"] = directory.app(app_id)
    token = headers.get("access-token") or _bearer(headers)
    if not token:
        raise ApiError(Code.TOKEN_MISSING, "access-token: missing")
    claims = tokens.verify(token, app, clock.now_ms(), known)
    confirm = partial(standing.confirm, app, claims)
    own, is_admin = int(claims.sub), claims.role == ADMIN
    try:
        acting = _validated(ActingHeaders, headers)
        if not is_admin and acting.group_id is not None:
            raise ApiError(Code.NO_PERMISSION, "group_id: only an admin token may name a group")
        if not is_admin and acting.user_id not in (None, own):
            raise ApiError(Code.NO_PERMISSION, "user_id: a user token acts for its own user only")
    except ApiError:
        confirm()
        raise
    user_id = known["user_id"] = acting.user_id or own
    return Caller(app_id, user_id, is_admin, user_id == own, acting.group_id, (confirm,))


def _bearer(headers: Mapping[str, str]) -> str | None:
    """The token of `Authorization: Bearer …`."""
    found = BEARER.fullmatch(headers.get("authorization", ""))
    return found[1] if found else None


def _http_fields(event: Event, part: str) -> Mapping[str, object]:
    return _body(event) if part == "body" else _part(event, "queryStringParameters", dict)


def _headers(event: Event) -> dict[str, str]:
    """By their names in lower case, and ours in the spelling of the API; ApiError BAD_PARAMETER where two spellings differ."""
    headers: dict[str, str] = {}
    for spelled, value in _part(event, "headers", dict).items():
        name, text = ALIASES.get(spelled.lower(), spelled.lower()), str(value).strip()
        if value is None or (not text and name in MAY_BE_EMPTY):
            continue
        if headers.setdefault(name, text) != text and name in ALIASES.values():
            raise ApiError(Code.BAD_PARAMETER, f"{name}: given twice, with different values")
        headers[name] = text
    return headers


def _part(event: Event, name: str, kind: type[P]) -> P:
    """A part of an HTTP event. API Gateway sends it as a `kind` or not at all; who invokes the function directly may send anything."""
    part = event.get(name)
    if not isinstance(part, kind | None):
        raise ApiError(Code.BAD_PARAMETER, f"{name}: not as API Gateway sends it")
    return part or kind()


def _body(event: Event) -> dict[str, Any]:
    """The body as a JSON object, under any content type. What is not exactly JSON in UTF-8 is refused as a whole."""
    raw = _part(event, "body", str)
    if len(raw) > MAX_BODY_BYTES:
        raise ApiError(Code.MESSAGE_TOO_LARGE, f"body: larger than {MAX_BODY_BYTES} bytes", status=413)
    try:
        text = base64.b64decode(raw, validate=True).decode() if event.get("isBase64Encoded") else raw
        fields = json_object(text)
    except ValueError as error:
        raise ApiError(Code.BAD_PARAMETER, f"body: must be a JSON object in UTF-8: {error}") from None
    if text is raw and REPLACEMENT in raw:
        damaged = next((name for name in fields if name in PARTS and REPLACEMENT in str(fields[name])), "body")
        raise ApiError(Code.BAD_PARAMETER, f"{damaged}: must be UTF-8; a U+FFFD that is meant is written as \\ufffd")
    return fields


def _validated(model: type[W], fields: Mapping[str, object]) -> W:
    """The fields as a `model`, null counting as absent; ApiError BAD_PARAMETER naming the first field that is wrong."""
    try:
        return model.model_validate({name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"]).removeprefix(".")
        raise ApiError(Code.BAD_PARAMETER, f"{field}: {first['msg'].removeprefix('Input ').removeprefix('Value error, ')}") from None
