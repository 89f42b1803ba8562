"""What every shape has in common: strict requests, integers and texts as the API takes them, and JSON that can be read one way only."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from messaging.base import keys

INT32 = 2**31 - 1
INT64 = 2**63 - 1
TRANSACTION_ID = r"[A-Za-z0-9_.:-]{1,64}"


def _integer(value: object) -> object:
    """A numeric string counts as the integer that it spells, because many clients hold ids as strings."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,999}", value) else value


def transaction_id(value: object) -> int | str:
    """An int64, or a string of `TRANSACTION_ID`; a string that spells an int64 is that integer. ValueError for anything else."""
    number = _integer(value)
    if isinstance(number, int) and not isinstance(number, bool) and -INT64 - 1 <= number <= INT64:
        return number
    if isinstance(value, str) and re.fullmatch(TRANSACTION_ID, value):
        return value
    raise ValueError("should be an integer of 64 bits, or a string of 1 to 64 of A-Z a-z 0-9 _ . : -")


def json_object(text: str) -> dict[str, Any]:
    """Exactly one JSON object: no duplicate keys, no NaN, no text around it; ValueError that does not quote the input."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refused, parse_int=_int)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _int(digits: str) -> int:
    if len(digits) > 999:
        raise ValueError("a number has too many digits")
    return int(digits)


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold half of a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_storable)]
Integer = Annotated[int, BeforeValidator(_integer)]
Id = Annotated[Integer, Field(ge=1, le=keys.MAX_ID)]
IdOrZero = Annotated[Integer, Field(ge=0, le=keys.MAX_ID)]
TransactionId = Annotated[
    int | str,
    BeforeValidator(transaction_id),
    WithJsonSchema({"anyOf": [{"type": "integer", "ge": -INT64 - 1, "le": INT64}, {"type": "string", "pattern": f"^{TRANSACTION_ID}$"}]}),
]
AppId = Annotated[str, StringConstraints(pattern=f"^{keys.APP_ID}$")]


class Wire(BaseModel):
    """A request: strict types, unknown fields ignored, nothing of the input in an error."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True, frozen=True)


class Stored(BaseModel):
    """What we wrote ourselves; nothing of it in an error, which would end up in the log."""

    model_config = ConfigDict(hide_input_in_errors=True)


def flagged(values: Mapping[str, object]) -> dict[str, Any]:
    """A reply object as the API's clients know it: every field has a `set_` twin that says whether it carries a value."""
    return {**values, **{f"set_{name}": value is not None for name, value in values.items()}}
