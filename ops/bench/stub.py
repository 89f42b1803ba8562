"""DynamoDB, SQS and Secrets Manager as the SDK sees them, on this machine, in a process of its own whose CPU is nobody else's.

Their JSON protocols over keep-alive HTTP/1.1, with or without TLS, answered from plain dicts (`tests.fast_aws`) that hold two apps, their
users, a group and some messages. Beside AWS's operations: `Stub.Restore` (everything as in the beginning), `Stub.Calls` (the operations
since then) and `Stub.Delay` (`{"ms": 5}`: how long an answer is kept back), without TLS on a port of their own.

python -m ops.bench.stub [--tls]     says on stdout where it listens, and ends when its stdin does
"""

import asyncio
import base64
import datetime
import gzip
import http.client
import ipaddress
import json
import re
import selectors
import ssl
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jwt
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infra.settings import ROOT
from messaging.base import keys
from messaging.people import tokens
from tests import world as worlds
from tests.fast_aws import FastAws
from tests.fast_world import FastWorld, fast_world

APPS = ("demo", "example")  # of the HTTP events and of the workers' events in `events/`
ADMIN, ALICE, BOB, CAROL, DAVE, GROUP = 1, 1001, 1002, 1003, 1004, 1005
MESSAGES = 30  # from Alice to Bob: more than a page of history, which has 20
CONTENT = "Shall we meet at the station at half past seven and walk to the theatre from it?"  # 80 characters
KEYS = {"current": "k1", "k1": "5" * 64}
NONCE = "0" * 32  # of every app: what its key is made of, beside the stack's
TOKEN_S = 3600
CONTROL = "Stub"
HOST = "127.0.0.1"
REGION = "us-east-1"
ENVIRONMENT = {  # of a function, as Lambda sets it
    "AWS_ACCESS_KEY_ID": "0" * 20,
    "AWS_SECRET_ACCESS_KEY": "0" * 40,
    "AWS_SESSION_TOKEN": "0" * 900,  # as long as those of a role
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_LAMBDA_FUNCTION_NAME": "Parley-bench",
    "AWS_LAMBDA_LOG_FORMAT": "JSON",
    "AWS_EXECUTION_ENV": "AWS_Lambda_python",
    "LANG": "en_US.UTF-8",
    "HOME": "/nonexistent",  # no settings of the user's
    "FANOUT_QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/000000000000/Fanout",
    "TOKEN_SECRET": "TokenKeys",
    **{variable: table for table, variable in worlds.TABLES.items()},
}


def fill(world: FastWorld) -> None:
    """What every operation needs in order to succeed. Bob has fetched Alice's messages and read none of them."""
    for app_id in APPS:
        if app_id != worlds.APP:  # which is there already
            world.app(app_id)
        for number, name in ((ALICE, "alice"), (BOB, "bob"), (CAROL, "carol"), (DAVE, "dave")):
            world.user(name, app_id, number)
        world.group(ALICE, BOB, CAROL, app=app_id, number=GROUP)
    for _ in range(MESSAGES):
        world.send(ALICE, [BOB], content=CONTENT)
    world.send(CAROL, [BOB], content=CONTENT)
    world.say(ALICE, GROUP, content=CONTENT)
    world.drain()
    world.history(BOB, ALICE)


@contextmanager
def filled() -> Iterator[FastAws]:
    """An AWS that holds all that, inside the world that filled it; secrets as `KEYS`."""
    with fast_world() as world:
        world.now_ms = time.time_ns() // 1_000_000
        fill(world)
        world.aws.wrote = lambda table, old, new: None
        world.aws.secret = KEYS
        for app_id in APPS:
            place = app_id, keys.PROFILE
            world.aws.tables["Directory"][place] = {**world.aws.tables["Directory"][place], "nonce": {"S": NONCE}}
        yield world.aws


def token(user: int, role: int = 1, app: str = worlds.APP) -> str:
    """An access token of that user from now on; role 2 is an administrator's."""
    now = time.time()
    claims = {"app": app, "sub": str(user), "role": role, "iat": now, "exp": now + TOKEN_S}
    key = tokens._derived("k1", KEYS["k1"], {"entity": app, "nonce": NONCE}, 1)
    return jwt.encode(claims, key.value, tokens.ALGORITHM, {"kid": key.kid})


def event(name: str) -> dict[str, Any]:
    """The sample event of a function, over HTTP with a token, as a client that asks for gzip sends it; without `transaction_id`."""
    for kind in ("http", "stream", "queue"):
        path = worlds.EVENTS / f"{name}.{kind}.json"
        if path.exists():
            break
    sample: dict[str, Any] = json.loads(path.read_text())
    if "headers" in sample:
        who = sample["headers"]["access-token"].removeprefix("<token of ").removesuffix(">")
        sample["headers"]["access-token"] = token(ADMIN, 2) if who == "admin" else token(int(who))
    if "body" in sample:
        body = json.loads(sample["body"])
        body.pop("transaction_id", None)
        sample["body"] = json.dumps(body | {"content": CONTENT})
    return sample


def envelope(reply: dict[str, Any]) -> dict[str, Any]:
    """What an endpoint's HTTP reply carries, compressed or not; a worker's reply as it is."""
    if "body" not in reply:
        return reply
    body = reply["body"].encode()
    carried: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(body)) if reply.get("isBase64Encoded") else body)
    return carried


class Answers:
    """What is answered to `X-Amz-Target` and a body."""

    def __init__(self, aws: FastAws) -> None:
        self.aws, self.beginning = aws, aws.snapshot()
        self.calls: list[str] = []
        self.delay_s = 0.0

    def answer(self, target: str, request: dict[str, Any]) -> tuple[int, Any]:
        """HTTP status and reply; of an error as AWS encodes it, with the item that refused a condition."""
        service, _, operation = target.partition(".")
        if service == CONTROL:
            return 200, getattr(self, f"_{operation.lower()}")(request)
        self.calls.append(operation)
        try:
            return 200, self.aws.perform(operation, request)
        except ClientError as error:
            told: dict[str, Any] = dict(error.response)
            kind = {"__type": f"com.amazonaws.dynamodb.v20120810#{told['Error']['Code']}", "message": told["Error"].get("Message", "")}
            return 400, kind | ({"Item": told["Item"]} if "Item" in told else {})

    def _restore(self, _: object) -> dict[str, Any]:
        self.aws.restore(self.beginning)
        self.calls = []
        return {}

    def _calls(self, _: object) -> list[str]:
        return self.calls

    def _delay(self, request: dict[str, Any]) -> dict[str, Any]:
        self.delay_s = request["ms"] / 1000
        return {}


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as an SDK speaks it: POST with a Content-Length, one request after the other. asyncio sets TCP_NODELAY."""

    def __init__(self, answers: Answers) -> None:
        self._answers, self._received = answers, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        arrived = asyncio.get_running_loop().time()
        self._received += data
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        length = _header(head, b"content-length")
        if not blank or len(rest) < int(length or 0):
            return
        self._received = b""
        target = _header(head, b"x-amz-target").decode()
        status, reply = self._answers.answer(target, json.loads(rest))
        body = json.dumps(reply, separators=(",", ":")).encode()
        head = (
            f"HTTP/1.1 {status} {http.client.responses[status]}\r\nContent-Type: application/x-amz-json-1.0\r\n"
            f"Content-Length: {len(body)}\r\nx-amz-crc32: {zlib.crc32(body)}\r\nx-amzn-RequestId: {'0' * 52}\r\n\r\n"
        ).encode()
        if self._answers.delay_s and not target.startswith(CONTROL):
            asyncio.get_running_loop().call_at(arrived + self._answers.delay_s, self._transport.write, head + body)
        else:
            self._transport.write(head + body)


def _header(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"\r\n" + name + rb": *([^\r]+)", head, re.IGNORECASE)
    return found[1] if found else b""


@dataclass(frozen=True)
class Stub:
    """A running stub, from the outside."""

    port: int
    control: int  # the port for what is not AWS's
    bundle: Path | None  # what a client checks its certificate against; None: no TLS
    system: Path | None = None  # the same for who goes by the system's roots

    @property
    def environment(self) -> dict[str, str]:
        """Of a function that talks to it instead of AWS."""
        scheme = "https" if self.bundle else "http"
        # The SDK's own roots, and the system's, which Python takes where nothing is said.
        checked = {"AWS_CA_BUNDLE": str(self.bundle), "SSL_CERT_FILE": str(self.system or self.bundle)} if self.bundle else {}
        return {**ENVIRONMENT, "AWS_ENDPOINT_URL": f"{scheme}://{HOST}:{self.port}", **checked}

    def restore(self) -> None:
        """Everything as in the beginning, no calls."""
        self._ask("Restore")

    def calls(self) -> list[str]:
        """The operations since it was restored."""
        return list(self._ask("Calls"))

    def delay(self, ms: float) -> None:
        """From now on, every answer is kept back until `ms` after its request came."""
        self._ask("Delay", ms=ms)

    def _ask(self, operation: str, **request: float) -> Any:
        connection = http.client.HTTPConnection(HOST, self.control)
        try:
            connection.request("POST", "/", json.dumps(request), {"X-Amz-Target": f"{CONTROL}.{operation}"})
            return json.load(connection.getresponse())
        finally:
            connection.close()


@contextmanager
def running(tls: bool) -> Iterator[Stub]:
    """A stub in a process of its own, until the block ends."""
    command = [sys.executable, "-m", "ops.bench.stub", *(["--tls"] if tls else [])]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        told = process.stdout.readline() if process.stdout else ""
        if not told:
            raise RuntimeError("the stub did not start; see above")
        port, control, bundle = json.loads(told)
        yield Stub(port, control, Path(bundle) if bundle else None)


def _certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A certificate for this machine, an hour long, and the file by which a client trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    own, bundle = folder / "own.pem", folder / "bundle.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    own.write_bytes(private + pem)
    bundle.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    return context, bundle


async def _serve(answers: Answers, context: ssl.SSLContext | None, bundle: Path | None) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(lambda: Connection(answers), HOST, 0, ssl=tls) for tls in (context, None)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print(json.dumps([*ports, str(bundle) if bundle else None]), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


def _precise_loop() -> asyncio.AbstractEventLoop:
    """`select` waits to the microsecond; asyncio's usual `epoll` to the next millisecond, a fifth of the delay."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, filled() as aws, asyncio.Runner(loop_factory=_precise_loop) as runner:
        context, bundle = _certificate(Path(folder)) if "--tls" in sys.argv else (None, None)
        runner.run(_serve(Answers(aws), context, bundle))


if __name__ == "__main__":
    main()
