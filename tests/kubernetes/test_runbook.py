"""docs/runbook.md: its commands are run, or say why not, and take their options."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.certificates import Authority
from support.runbook import PAGE, Block, blocks, calls_of, to_run

from leyden_cli.main import build_parser
from leyden_server.api_keys.key_file import KeyFile

TEXT = PAGE.read_text(encoding="utf-8")
HERE = "tests/kubernetes/test_runbook.py"
RUNNERS = {HERE, "make test-cluster ARGS=control-plane"}
COMMANDS = {"generate", "keys", "models", "serve", "top"}
NOBODY = "http://127.0.0.1:9"
"""Nothing listens on the port of discard; kubectl reads its arguments before it finds out."""


def faults(page: str) -> list[str]:
    """Return the blocks that say neither what runs them nor why nothing does."""
    return [
        block.first
        for block in blocks(page)
        if block.run_by not in RUNNERS and not block.why_not_run
    ]


def parse(call: list[str]) -> None:
    """Read a command line of leyden's, without what its output is redirected to."""
    words = call[: call.index(">")] if ">" in call else call
    if words[0] == "models":
        words = [" ".join(words[:2]), *words[2:]]
    build_parser().parse_args([word for word in words if word != "&"])


def test_leyden_takes_its_options() -> None:
    calls = calls_of("leyden")

    # The word stands as the name of a release too, after helm and kubectl.
    calls = [call for call in calls if call and call[0] in COMMANDS]
    assert len(calls) > 8
    for call in calls:
        parse(call)


def test_an_option_that_leyden_has_not_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["keys", "add", "alice", "--filee", "keys.yaml"])
    assert "--filee" in capsys.readouterr().err


def kubectl(call: list[str]) -> str:
    """Return what kubectl says of its arguments; "" where it takes them."""
    where = ["--server", NOBODY, "--request-timeout=1s"]
    result = subprocess.run(
        [Path(sys.executable).with_name("kubectl"), *call, *where],
        capture_output=True,
        text=True,
        check=False,
        input="",
    )
    said = result.stderr.strip()
    unreachable = "127.0.0.1:9" in said or "no objects passed to apply" in said
    return "" if unreachable or not result.returncode else said


def test_kubectl_takes_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Authority().issue("images.example.com").write(tmp_path / "cert.pem", tmp_path / "key.pem")
    (tmp_path / "keys.yaml").write_text("keys: []\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    calls = calls_of("kubectl")

    assert len(calls) > 15
    assert {" ".join(call): said for call in calls if (said := kubectl(call))} == {}


@pytest.mark.parametrize(
    "wrong",
    [
        ["-n", "leyden", "get", "pods", "--label-column=a"],
        ["drain", "node", "--ignore-daemonset"],
        ["gett"],
    ],
)
def test_an_option_that_kubectl_has_not_is_found(wrong: list[str]) -> None:
    assert wrong[-1].partition("=")[0].lstrip("-") in kubectl(wrong)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_commands_that_need_no_cluster_do_what_the_page_says(tmp_path: Path) -> None:
    said = {block.text: run(block, tmp_path) for block in to_run(HERE)}

    keys = KeyFile.load(tmp_path / "keys.yaml")
    assert {key.name for key in keys.keys} == {"alice-2", "ops"}
    (looked_at,) = [said[text] for text in said if "-checkend" in text]
    lines = looked_at.splitlines()
    assert "Certificate will not expire" in looked_at
    assert "DNS:images.example.com" in looked_at
    assert lines[-1] == lines[-2]  # the pair


def run(block: Block, folder: Path) -> str:
    """Run a block's commands in a folder; return what they say."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    result = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block.text],
        cwd=folder,
        env={"PATH": path, "PYTHONPATH": ":".join(sys.path), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{block.text}\n{result.stderr}"
    return result.stdout
