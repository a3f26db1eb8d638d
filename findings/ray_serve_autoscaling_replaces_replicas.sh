#!/bin/sh
# ray 2.60.0, Ray Serve: a deployment's replicas are replaced where its config file says
# autoscaling_config in place of num_replicas, or the other way round.
#
# Expected: they stay. Ray's page on updating applications in place lists both among the changes
# that restart no replica ("Lightweight config updates").
# Seen: from one autoscaling_config to another the replica stays. From num_replicas: 1 to
# autoscaling_config with min_replicas: 1 it is replaced, so that a deployment of one replica answers
# nothing until the other has started. The list of all autoscaling policies is
# part of what an application's version is hashed from: it is [] without autoscaling, and [None] with.
# Prints replica A for the first config, and B for both others.
# Way round: autoscaling_config from the start, with min_replicas = max_replicas for a fixed number.
#
# Runs in a folder of its own, in about a minute. Fails if another behaviour is seen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'ray[serve]==2.60.0'
cat > "$folder/answers.py" <<'PYTHON'
import os

from ray import serve


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Answers:
    def process_id(self):
        return os.getpid()


app = Answers.bind()
PYTHON
cat > "$folder/finding.py" <<'PYTHON'
import json
import subprocess
import sys
import time
from pathlib import Path

import ray
from ray import serve

SCALINGS = {
    "num_replicas: 1": {"num_replicas": 1},
    "autoscaling, 1 to 1": {"autoscaling_config": {"min_replicas": 1, "max_replicas": 1}},
    "autoscaling, 1 to 2": {"autoscaling_config": {"min_replicas": 1, "max_replicas": 2}},
}


def deployed(scaling):
    """Return the process that answers once the config is in place."""
    application = {
        "name": "answers",
        "route_prefix": None,
        "import_path": "answers:app",
        "deployments": [{"name": "Answers", **scaling}],
    }
    file = Path(__file__).with_name("config.json")  # JSON is YAML
    file.write_text(json.dumps({"proxy_location": "Disabled", "applications": [application]}))
    before = serve.status().applications.get("answers")
    since_s = before.last_deployed_time_s if before else 0.0
    command = [sys.executable, "-m", "ray.serve.scripts", "deploy", "--address", dashboard]
    subprocess.run([*command, str(file)], check=True, capture_output=True)
    while True:
        now = serve.status().applications.get("answers")
        if now and now.last_deployed_time_s > since_s and now.status == "RUNNING":
            return serve.get_app_handle("answers").process_id.remote().result()
        time.sleep(0.2)


context = ray.init(num_cpus=2, include_dashboard=True, log_to_driver=False)
dashboard = f"http://{context.dashboard_url}"
serve.start(proxy_location="Disabled")
processes = {name: deployed(scaling) for name, scaling in SCALINGS.items()}
first, second, third = processes.values()
letters = dict(zip(dict.fromkeys(processes.values()), "ABC"))
for name, process in processes.items():
    print(f"{name}: replica {letters[process]} answers")
assert first != second, "autoscaling_config in place of num_replicas has replaced nothing"
assert second == third, "another autoscaling_config has replaced the replica"
PYTHON
PYTHONPATH="$folder" "$folder/venv/bin/python" "$folder/finding.py" 2>/dev/null
