"""Whether the user of a token may come in: exists, is a user, is neither erased nor disabled, and the token was not revoked."""

from messaging.base import store
from messaging.base.errors import ApiError, Code
from messaging.base.memory import Memory
from messaging.people import directory
from messaging.people.models import Claims

LEAD_MS = 5000  # how far the clock of whoever signed a token without `rev` may have been ahead when the user was revoked
REMEMBERED_S = 30  # how long a user who could come in is taken from memory: a revocation takes effect within a minute
REMEMBERED = 10_000  # users, some 3 MB

_revoked: Memory[tuple[str, int], int] = Memory(REMEMBERED_S, REMEMBERED)  # since when tokens of a user are refused, ms


def confirm(app: store.Item, claims: Claims) -> None:
    """ApiError TOKEN_INVALID where the token's user is nobody or a group, TOKEN_EXPIRED for one erased, disabled or revoked.

    One weak read of the profile, half a unit, or none where this container made it a moment ago. Either may be older than the user, or than
    a token made right after a revocation: whoever would be refused is therefore looked at once more, consistently.
    """
    user = app["entity"], int(claims.sub)
    remembered = _revoked.get(user)
    if remembered is not None and not is_revoked(claims, remembered):
        return
    place = directory.ref(*user)
    profile = store.get_weakly(place)
    if refusal(app, claims, profile):
        profile = store.get(place)
        if refused := refusal(app, claims, profile):
            raise refused
    _revoked.put(user, directory.revoked_ms(app, profile or {}, user[1]))


def refusal(app: store.Item, claims: Claims, profile: store.Item | None) -> ApiError | None:
    """Why the user of this profile may not come in with this token."""
    if profile is None or profile["what"] == "group":
        return ApiError(Code.TOKEN_INVALID, "access-token: invalid for this app")
    gone = profile["what"] != "user" or profile.get("disabled")
    if gone or is_revoked(claims, directory.revoked_ms(app, profile, int(claims.sub))):
        return ApiError(Code.TOKEN_EXPIRED, "access-token: revoked, log in again")
    return None


def is_revoked(claims: Claims, revoked_ms: int) -> bool:
    """A token says which revocation it knows of, whatever clocks say; one that does not is judged by when it was issued."""
    if claims.rev is not None:
        return claims.rev < revoked_ms
    return revoked_ms > 0 and claims.iat * 1000 <= revoked_ms + LEAD_MS
