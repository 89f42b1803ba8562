"""Throughput and latency over HTTP through the local AWS's gateway, as ratios to an empty function behind the same gateway.

A local AWS of its own, deployed as `make up` does, with one more function that logs a word and answers `{}`. A few clients ask as fast
as they are answered, one operation for some seconds, then the next, round after round, so that all meet the same machine. The gateway,
the way in which it runs functions and the tables behind them are the emulator's, on the same processor as the clients: no figure here
is AWS's, and most of what lies between a ratio and 1 is the emulator's tables.
"""

import io
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any

import boto3

from infra.settings import ROOT
from ops import stack
from ops.bench.figures import Figure, Part, Progress
from ops.bench.progress import while_waiting
from ops.bench.stub import CONTENT

CLIENTS = 4
ROUNDS = 3
SECONDS = 6  # of each operation in a round
EMPTY = "empty"
EMPTY_ROUTE = "GET /bench/empty"
# The local AWS waits up to 50 ms for a log line; each of ours writes one, and without any the empty function would be among the slowest.
EMPTY_CODE = 'def handler(event, context):\n    print("empty")\n    return {"statusCode": 200, "body": "{}"}\n'


def measure(progress: Progress) -> Part:
    """Requests a second and p50 of send, unread and history, to those of the empty function."""
    with ThreadPoolExecutor(1) as waiting, _own_aws(progress, waiting) as environment:
        job = _job(stack.local())
        doing = f"gateway: {CLIENTS} clients for {ROUNDS * SECONDS * len(job['requests'])} s"
        load = waiting.submit(_run, [sys.executable, "-m", "ops.bench.clients"], environment, json.dumps(job))
        measured: list[dict[str, Any]] = json.loads(while_waiting(load, progress, doing))
    return Part("gateway", list(_figures(measured)))


def _figures(measured: list[dict[str, Any]]) -> Iterator[Figure]:
    rates, p50s = defaultdict(list), defaultdict(list)
    for one in measured:
        rates[one["operation"]].append(one["rate"])
        p50s[one["operation"]].append(one["p50"])
    rate, p50 = ({name: statistics.median(found) for name, found in of.items()} for of in (rates, p50s))
    for name in rate:
        if name != EMPTY:
            note = f"{rate[name]:.0f} to {rate[EMPTY]:.0f} requests a second, {CLIENTS} clients, local AWS"
            yield Figure(f"Throughput of {name} through the gateway, to an empty function", rate[name] / rate[EMPTY], "×", note=note)
            note = f"{p50[name]:.0f} to {p50[EMPTY]:.0f} ms"
            yield Figure(f"p50 of {name} through the gateway, to an empty function", p50[name] / p50[EMPTY], "×", note=note)


# --- the local AWS


@contextmanager
def _own_aws(progress: Progress, waiting: ThreadPoolExecutor) -> Iterator[dict[str, str]]:
    """A local AWS with the empty function; stopped and wiped at the end. Yields the environment that leads to it."""
    (ROOT / ".local").mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / ".local"))  # another run at the same time has its own
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PARLEY_HOME": str(home), "PARLEY_PORT": str(port)}
    before = dict(os.environ)
    local = [sys.executable, "-m", "ops.local"]
    try:
        while_waiting(waiting.submit(_run, [*local, "up"], environment), progress, "gateway: deploying to a local AWS")
        os.environ["PARLEY_HOME"] = str(home)
        _add_empty_function(stack.local())
        yield environment
    finally:
        os.environ.clear()
        os.environ.update(before)
        while_waiting(waiting.submit(_run, [*local, "down"], environment), progress, "gateway: stopping the local AWS")
        shutil.rmtree(home, ignore_errors=True)  # a function that is still ending may take its own folder away


def _run(command: list[str], environment: Mapping[str, str], told: str = "") -> str:
    """What a program says on stdout; RuntimeError with the end of what it says on stderr where it fails."""
    done = subprocess.run(command, cwd=ROOT, env=dict(environment), input=told, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed: {done.stderr[-2000:]}")
    return done.stdout


def _add_empty_function(told: Mapping[str, Any]) -> None:
    """Behind the same API as ours, with the role, memory and runtime of one of ours."""
    stack.use_local(told["aws_endpoint_url"])
    outputs = stack.read_outputs(told["stack"])
    functions, gateway = boto3.client("lambda"), boto3.client("apigatewayv2")
    like = functions.get_function_configuration(FunctionName=outputs["SendFunction"])
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("empty.py", EMPTY_CODE)
    made = functions.create_function(
        FunctionName="bench-empty",
        Runtime=like["Runtime"],
        Role=like["Role"],
        Handler="empty.handler",
        MemorySize=like["MemorySize"],
        Code={"ZipFile": code.getvalue()},
    )
    integration = gateway.create_integration(
        ApiId=outputs["ApiId"], IntegrationType="AWS_PROXY", IntegrationUri=made["FunctionArn"], PayloadFormatVersion="2.0"
    )
    gateway.create_route(ApiId=outputs["ApiId"], RouteKey=EMPTY_ROUTE, Target=f"integrations/{integration['IntegrationId']}")
    functions.add_permission(
        FunctionName="bench-empty", StatementId="gateway", Action="lambda:InvokeFunction", Principal="apigateway.amazonaws.com"
    )


def _job(told: Mapping[str, Any]) -> dict[str, Any]:
    """What the clients are to do: every demo user sends to, and reads from, every other, so that no conversation is a busy one."""
    demo = told["apps"][0]

    def request(who: dict[str, Any], verb: str, path: str, body: object = None) -> dict[str, Any]:
        headers = {"app_id": demo["app_id"], "access-token": who["token"], "content-type": "application/json"}
        return {"verb": verb, "path": path, "headers": headers, "body": json.dumps(body) if body else None}

    def message(to: int) -> dict[str, Any]:
        return {"type": 1, "targets": [to], "content_type": 0, "content": CONTENT}

    pairs = [(one, other["user_id"]) for one, other in permutations(demo["users"], 2)]
    requests = {
        EMPTY: [request(one, *EMPTY_ROUTE.split()) for one in demo["users"]],
        "send": [request(one, "POST", "/message/send", message(other)) for one, other in pairs],
        "unread": [request(one, "GET", "/message/unread") for one in demo["users"]],
        "history": [request(one, "GET", f"/message/conversation?opposite_id={other}") for one, other in pairs],
    }
    return {"host": told["api_url"], "clients": CLIENTS, "rounds": ROUNDS, "seconds": SECONDS, "requests": requests}


def main() -> None:
    for figure in measure(lambda doing: print(f"\r\033[K{doing}", end="", file=sys.stderr, flush=True)).figures:
        print(f"{figure.value:8.2f} {figure.unit}  {figure.what}: {figure.note}")


if __name__ == "__main__":
    main()
