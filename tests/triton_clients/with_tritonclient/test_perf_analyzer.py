"""The perf_analyzer commands of docs/triton.md, where it is installed; it is for newer systems."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tritonclient.grpc as triton

PAGE = Path(__file__).resolve().parents[3] / "docs" / "triton.md"
WRITTEN = "127.0.0.1:8001"
COMMANDS = [
    re.sub(r"^\$ ", "", block, flags=re.MULTILINE)
    for block in re.findall(
        r"^```console\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
]


def test_the_page_has_them() -> None:
    assert len(COMMANDS) == 3
    assert all(WRITTEN in command for command in COMMANDS)


@pytest.mark.skipif(shutil.which("perf_analyzer") is None, reason="no perf_analyzer on the PATH")
@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_it_counts_what_it_sent(number: int, address: str, tmp_path: Path) -> None:
    command = COMMANDS[number].replace(WRITTEN, address)
    command = command.replace('"python message.py"', f'"{sys.executable} message.py"')
    (model,) = re.findall(r"perf_analyzer -m (\S+)", command)
    answered = successes(address, model)
    done = subprocess.run(
        ["sh", "-ec", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (sent,) = re.findall(r"--request-count (\d+)", command)
    assert f"Request count: {sent}" in done.stdout
    # It sends a few more, to warm up, and of dynamic_grpc looks at no status.
    assert successes(address, model) >= answered + int(sent)
    if "dynamic_grpc" not in command:
        assert f"Successful request count: {sent}" in done.stdout
        assert f"Inference count: {sent}" in done.stdout


def successes(address: str, model: str) -> int:
    client = triton.InferenceServerClient(address)
    (statistics,) = client.get_inference_statistics(model).model_stats
    count: int = statistics.inference_stats.success.count
    return count
