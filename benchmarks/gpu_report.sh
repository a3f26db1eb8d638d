#!/bin/sh
# Runs benchmarks/gpu_report.py from anywhere; PYTHON names another interpreter than .venv's.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$root/.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python3
fi
packages=$root/server:$root/client/python:$root/training:$root
export PYTHONPATH="$packages${PYTHONPATH:+:$PYTHONPATH}"
cd "$root"
exec "$PYTHON" benchmarks/gpu_report.py "$@"
