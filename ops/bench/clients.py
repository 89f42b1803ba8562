"""Clients of an HTTP API, as many as told, that ask as fast as they are answered. A program of its own: locust changes the whole process.

python -m ops.bench.clients '{"host": …, "clients": 4, "rounds": 3, "seconds": 8, "requests": {name: {verb, path, headers, body}}}'

Prints, as JSON, requests a second and p50 (ms) of every operation in every round.
"""

import json
import sys
import time
from typing import Any

from locust import HttpUser, constant, task  # makes `time.sleep` and sockets give way to the other clients
from locust.env import Environment

WARM_UP_S = 3  # until as many containers run as there are clients


def ask(job: dict[str, Any], name: str) -> dict[str, Any]:
    """One operation for some seconds; RuntimeError where a request is not answered with success."""
    request = job["requests"][name]

    class Client(HttpUser):
        host = job["host"]
        wait_time = constant(0)

        @task
        def ask(self) -> None:
            with self.client.request(
                request["verb"], request["path"], headers=request["headers"], data=request["body"], name=name, catch_response=True
            ) as reply:
                if reply.status_code != 200 or reply.json().get("code", 200) != 200:
                    reply.failure(reply.text)

    environment = Environment(user_classes=[Client])
    runner = environment.create_local_runner()
    runner.start(job["clients"], spawn_rate=job["clients"])
    time.sleep(WARM_UP_S)
    environment.stats.reset_all()
    time.sleep(job["seconds"])
    total = environment.stats.total
    found = {"operation": name, "rate": total.num_requests / job["seconds"], "p50": total.median_response_time}
    failed = [str(error.error) for error in environment.stats.errors.values()]
    runner.quit()
    if failed or not total.num_requests:
        raise RuntimeError(f"{name}: {failed[:3] or 'no answer'}")
    return found


def main() -> None:
    job = json.loads(sys.argv[1])
    json.dump([ask(job, name) for _ in range(job["rounds"]) for name in job["requests"]], sys.stdout)


if __name__ == "__main__":
    main()
