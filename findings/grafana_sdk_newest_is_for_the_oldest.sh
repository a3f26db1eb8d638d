#!/bin/sh
# grafana-foundation-sdk (PyPI, November 2026): what pip takes for the newest is for the oldest Grafana,
# and a lower bound does not help.
#
# Expected: `pip install 'grafana-foundation-sdk>=11.6'` brings the builders for Grafana 11.6 or newer.
# Seen: it brings those for Grafana 10.1, as does a requirement without a version. Each release goes out once
# for each Grafana, and the time of its build is the version's epoch (`1769699998!10.1.0`); the epoch
# counts before all else (PEP 440), and the oldest Grafana is built last.
# Way round: name epoch and Grafana together, `==1769699379!11.6.*`. What is made for an old Grafana is
# read by newer ones, so the oldest can be the right choice, but then by choice.
#
# Runs in a folder of its own, in a few seconds. Fails if another behaviour is seen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for wanted in 'grafana-foundation-sdk>=11.6' 'grafana-foundation-sdk==1769699379!11.6.*'; do
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --force-reinstall "$wanted"
  "$folder/venv/bin/python" - "$wanted" <<'PYTHON'
import sys
from importlib.metadata import version

wanted, found = sys.argv[1], version("grafana-foundation-sdk")
print(f"pip install '{wanted}': {found}")
grafana = found.partition("!")[2]
assert grafana.startswith("10.1." if ">=" in wanted else "11.6."), found
PYTHON
done
