"""`leyden serve` with options that are wrong, and the signals that it hears: no server starts."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import leyden
from support.patience import PATIENCE_S

WRONG = [
    (["--model", "leyden-tiny-bsae"], "did you mean 'leyden-tiny-base'"),
    (["--model-repository", "missing"], "missing: is not a folder"),
    (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
    (["--model", "broken", "--model-repository", "models"], "models/broken/model.yaml: bse: unkn"),
    (["--model-repository", "models", "--model-repository", "models"], "has the same name"),
    (["--port", "70000"], "gateway.port"),
    (["--metrics-port", "70000"], "gateway.metrics_port: "),
    (["--web", "70000"], "--web: PORT or HOST:PORT, with a port from 0 to 65535"),
    (["--web", "localhost"], "--web: PORT or HOST:PORT, with a port from 0 to 65535"),
    (["--web", "http://localhost:80"], "gateway.web_host"),
    (["--web", "0.0.0.0:8080"], "web_host 0.0.0.0 is open to the network, in plaintext"),
    (["--host", "192.0.2.77"], "host 192.0.2.77 is open to the network, in plaintext"),
    (["--host", "0.0.0.0"], "or say that it may be with insecure: true (--insecure)"),
    (
        ["--insecure", "--host", "192.0.2.77", "--port", "0"],
        "192.0.2.77 is not an address of this machine",
    ),
    (["--host", "127.0.0.1:80", "--port", "0"], "'127.0.0.1:80' is neither an IP address"),
    (["--host", "", "--port", "0"], "gateway.host"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_option_is_named_before_ray_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/broken").mkdir(parents=True)
    Path("models/broken/model.yaml").write_text("bse: ../other\n")
    result = leyden("serve", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "importing Ray" not in result.stderr
    assert "Traceback" not in result.stderr


WITHOUT_TELEMETRY = """
import sys
sys.modules["opentelemetry"] = None
from leyden_cli.main import main
sys.exit(main(["serve", "--config", "leyden.yaml"]))
"""


def test_traces_without_their_extra_are_one_line_before_ray_is_imported(tmp_path: Path) -> None:
    config = "gateway: {port: 0, trace_endpoint: http://localhost:4317}"
    (tmp_path / "leyden.yaml").write_text(config)
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TELEMETRY],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: gateway.trace_endpoint is http://localhost:4317, and")
    assert "pip install 'leyden[tracing]'" in line


def test_an_unknown_config_key_names_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "leyden.yaml"
    config.write_text("denoiser: {max_batch_row: 4}\n")
    result = leyden("serve", "--config", str(config))
    assert result.returncode == 1
    assert "max_batch_row: unknown key; the nearest known one is 'max_batch_rows'" in result.stderr


@pytest.mark.parametrize(
    ("option", "settings"),
    [
        ("--metrics-port", "--metrics-port (gateway.metrics_host, gateway.metrics_port"),
        ("--web", "--web (gateway.web_host, gateway.web_port)"),
    ],
)
def test_a_taken_port_is_one_line(option: str, settings: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = leyden("serve", "--port", "0", "--metrics-port", "0", option, str(port))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
    assert f"choose another with {settings}" in line


DROPPED = """
import os, signal, sys, threading
from leyden_cli.server.interrupts import interrupt_on_signals

os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.{name}))
stdout = sys.stdout  # nothing more is shown of it from the first signal on
interrupt_on_signals()
try:
    if os.fork() == 0:
        os._exit(0)
    print("went on", file=stdout, flush=True)
    threading.Event().wait()
except KeyboardInterrupt:
    print("interrupted", file=stdout, flush=True)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_comes_amid_a_fork_is_not_lost(name: str) -> None:
    """Python drops what is raised there."""
    command = [sys.executable, "-c", DROPPED.format(name=name)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert result.stdout == "went on\ninterrupted\n"
    assert result.stderr == ""


AROUND_A_FORK = """
import os, signal, subprocess, sys, threading
from leyden_cli.server.interrupts import interrupt_on_signals

def hook():
    signal.raise_signal(signal.{name})
    print("whole", file=stdout, flush=True)

stdout = sys.stdout  # nothing more is shown of it from the first signal on
os.register_at_fork(before=hook, after_in_parent=hook)
interrupt_on_signals()
try:
    with subprocess.Popen(["true"], preexec_fn=lambda: None) as child:
        threading.Event().wait()
except KeyboardInterrupt:
    print("interrupted", child.wait(), file=stdout, flush=True)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_breaks_nothing_off_that_runs_around_a_fork(name: str) -> None:
    """As where filelock, which Ray imports, keeps its books: half of them done are an error."""
    command = [sys.executable, "-c", AROUND_A_FORK.format(name=name)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert result.stdout == "whole\nwhole\ninterrupted 0\n"
    assert result.stderr == ""
