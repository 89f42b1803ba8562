"""Who is calling, and what a token says."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints

from messaging.base import keys, store
from messaging.base.wire import Wire

USER, ADMIN = 1, 2  # roles of a token


def _an_id(text: str) -> str:
    if int(text) > keys.MAX_ID:
        raise ValueError("should be an id")
    return text


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling and with which rights, as far as the edge could tell without asking the store.

    `checks`: what is still to be asked, each raising the ApiError of its refusal. An endpoint makes them beside its first reads, and writes
    nothing before.
    """

    app_id: str
    user_id: int  # the acting user
    is_admin: bool
    vouched: bool  # the acting user is the token's, or the app's administrator
    group_id: int | None = None  # an administrator acts with this group's administrator rights
    checks: tuple[Callable[[], object], ...] = ()

    def alongside(self, *reads: Callable[[], Any]) -> list[Any]:
        """The results of these reads, made side by side with the checks; of several refusals that of who is calling comes first.

        The first read is made in this thread: it alone may run calls in parallel itself, and it must not refuse anything.
        """
        results = store.parallel([*reads[:1], *self.checks, *reads[1:]])
        return results[: len(reads[:1])] + results[len(reads[:1]) + len(self.checks) :]

    def confirmed(self) -> Self:
        """This caller once nothing is left to be asked."""
        self.alongside()
        return replace(self, checks=())


class Claims(Wire):
    """What a token says. `iat`, `nbf`, `exp`: seconds since the epoch. `rev`: the user's last revocation (ms, 0: none) when it was made;
    tokens that others make need not say."""

    app: str
    sub: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,15}$"), AfterValidator(_an_id)]
    role: Annotated[int, Field(ge=USER, le=ADMIN)]
    iat: Annotated[int | float, Field(ge=0, allow_inf_nan=False)]
    exp: Annotated[int | float, Field(ge=0, allow_inf_nan=False)]
    nbf: Annotated[int | float, Field(ge=0, allow_inf_nan=False)] = 0
    rev: Annotated[int, Field(ge=0, le=keys.MAX_ID)] | None = None
