"""Who is calling, and what a token says."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from messaging.base import keys
from messaging.base.wire import Wire

USER, ADMIN = 1, 2  # roles of a token


def _an_id(text: str) -> str:
    if int(text) > keys.MAX_ID:
        raise ValueError("should be an id")
    return text


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling and with which rights, once the edge has checked it."""

    app_id: str
    user_id: int  # the acting user
    is_admin: bool
    vouched: bool  # a token of ours says that the acting user exists
    group_id: int | None = None  # an administrator acts with this group's administrator rights


class Claims(Wire):
    """What a token says. `iat`, `nbf`, `exp`: seconds since the epoch."""

    app: str
    sub: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,15}$"), AfterValidator(_an_id)]
    role: Annotated[int, Field(ge=USER, le=ADMIN)]
    iat: Annotated[int | float, Field(ge=0, allow_inf_nan=False)]
    exp: Annotated[int | float, Field(ge=0, allow_inf_nan=False)]
    nbf: Annotated[int | float, Field(ge=0, allow_inf_nan=False)] = 0
