"""The benchmark: what decides cost and speed, measured without an AWS account. `python -m ops.bench` runs all of it."""
