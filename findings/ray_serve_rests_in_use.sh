#!/bin/sh
# ray 2.60.0, Ray Serve: a deployment with min_replicas=0 is scaled to zero while it is in use, where
# its calls are short.
#
# Expected: with downscale_to_zero_delay_s=5 the last replica goes after 5 s without a request.
# Seen: with a call of about a millisecond five times a second, never more than 0.2 s apart, the
# only replica is replaced after some ten to thirty seconds, and the call that comes then waits for
# the start of another. Requests are counted by samples (a fifth of look_back_period_s apart), and a
# call that no sample sees was none; the delay runs from the samples, not from the last request.
# Way round: min_replicas=1 where calls are short, and whoever calls asks Serve for the replicas
# instead of trusting that a deployment he has just used is there.
#
# Runs in a folder of its own, in one to three minutes. Fails if another behaviour is seen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'ray[serve]==2.60.0'
cat > "$folder/finding.py" <<'PYTHON'
import time

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig

WATCHED_S = 90
RESTS_AFTER_S = 5


@serve.deployment(
    ray_actor_options={"num_cpus": 0},
    autoscaling_config=AutoscalingConfig(
        min_replicas=0,
        initial_replicas=1,
        max_replicas=1,
        metrics_interval_s=1,
        look_back_period_s=2,
        downscale_delay_s=1,
        downscale_to_zero_delay_s=RESTS_AFTER_S,
    ),
)
class Short:
    def process_id(self):
        import os

        return os.getpid()


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(proxy_location="Disabled")
handle = serve.run(Short.bind(), name="short", route_prefix=None)
replicas, calls, longest_pause_s, started_s = [], 0, 0.0, time.monotonic()
ended_s = started_s
while time.monotonic() - started_s < WATCHED_S and len(set(replicas)) < 2:
    time.sleep(0.2)
    longest_pause_s = max(longest_pause_s, time.monotonic() - ended_s)
    replicas.append(handle.process_id.remote().result())
    calls += 1
    ended_s = time.monotonic()
print(f"{calls} calls, {longest_pause_s:.2f} s apart at most, {len(set(replicas))} replicas")
ray.shutdown()
assert longest_pause_s < RESTS_AFTER_S / 2, "this machine is too busy to tell"
assert len(set(replicas)) == 2, "the replica that is in use stays"
PYTHON
"$folder/venv/bin/python" "$folder/finding.py"
