"""What every reply of an endpoint says to browsers, proxies and caches."""

from messaging import edge


def test_a_reply_is_json_that_nobody_guesses_at_keeps_or_gets_without_tls() -> None:
    assert edge.HEADERS == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "strict-transport-security": "max-age=31536000",
        "x-content-type-options": "nosniff",
        "vary": "accept-encoding",
    }
