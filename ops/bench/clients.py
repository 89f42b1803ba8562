"""Clients of an HTTP API, as many as told, that ask as fast as they are answered. A program of its own: locust changes the whole process.

On stdin: {"host": …, "clients": 4, "rounds": 3, "seconds": 6, "requests": {name: [{verb, path, headers, body}, …]}}, the requests of a
name being made in turn. Prints, as JSON, requests a second and p50 (ms) of every name in every round.
"""

import itertools
import json
import sys
import time
from typing import Any

from locust import HttpUser, constant, task  # makes `time.sleep` and sockets give way to the other clients
from locust.env import Environment

WARM_UP = 5  # answers for each client, until as many containers run as there are clients
PATIENCE_S = 60  # for those


def ask(job: dict[str, Any], name: str) -> dict[str, Any]:
    """One operation for some seconds; RuntimeError where a request is not answered with success."""
    requests = itertools.cycle(job["requests"][name])

    class Client(HttpUser):
        host = job["host"]
        wait_time = constant(0)

        @task
        def ask(self) -> None:
            request = next(requests)
            with self.client.request(
                request["verb"], request["path"], headers=request["headers"], data=request["body"], name=name, catch_response=True
            ) as reply:
                if reply.status_code != 200 or reply.json().get("code", 200) != 200:
                    reply.failure(reply.text)

    environment = Environment(user_classes=[Client])
    runner = environment.create_local_runner()
    runner.start(job["clients"], spawn_rate=job["clients"])
    deadline = time.monotonic() + PATIENCE_S
    while environment.stats.num_requests < WARM_UP * job["clients"] and time.monotonic() < deadline:
        time.sleep(0.1)
    environment.stats.clear_all()
    time.sleep(job["seconds"])
    total = environment.stats.total
    found = {"operation": name, "rate": total.num_requests / job["seconds"], "p50": total.median_response_time}
    failed = [str(error.error) for error in environment.stats.errors.values()]
    runner.quit()
    if failed or not total.num_requests:
        raise RuntimeError(f"{name}: {failed[:3] or 'no answer'}")
    return found


def main() -> None:
    job = json.load(sys.stdin)
    json.dump([ask(job, name) for _ in range(job["rounds"]) for name in job["requests"]], sys.stdout)


if __name__ == "__main__":
    main()
