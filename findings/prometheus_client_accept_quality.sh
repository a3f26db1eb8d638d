#!/bin/sh
# prometheus_client 0.26.0: a scraper that refuses OpenMetrics is sent OpenMetrics.
#
# Expected: `Accept: text/plain, application/openmetrics-text;q=0` gets text/plain, since a quality
# of 0 says "not acceptable" (RFC 9110, 12.4.2), and of two qualities the greater one is served.
# Seen: `choose_encoder`, by which all of its servers answer, takes OpenMetrics wherever its name
# stands in the header, whatever the quality.
# Way round: compare the qualities before the library is asked.
#
# Runs in a folder of its own, in a few seconds. Fails if another behaviour is seen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'prometheus_client==0.26.0'
cat > "$folder/finding.py" <<'PYTHON'
import urllib.request
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, start_http_server

PREFERS_PLAIN = "text/plain;q=0.9, application/openmetrics-text;q=0.2"
REFUSES_OPENMETRICS = "text/plain, application/openmetrics-text;q=0"

registry = CollectorRegistry()
Gauge("queue_images", "Images that wait", registry=registry).set(3)
server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
url = f"http://127.0.0.1:{server.server_port}/metrics"
served = {}
for accept in ("text/plain", PREFERS_PLAIN, REFUSES_OPENMETRICS):
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request) as response:
        served[accept] = response.headers["Content-Type"]
server.shutdown()
thread.join()
print("prometheus_client", version("prometheus_client"))
for accept, content_type in served.items():
    print(f"  Accept: {accept}\n    {content_type}")
assert served["text/plain"].startswith("text/plain")
assert served[PREFERS_PLAIN].startswith("application/openmetrics-text")
assert served[REFUSES_OPENMETRICS].startswith("application/openmetrics-text")
PYTHON
"$folder/venv/bin/python" "$folder/finding.py"
