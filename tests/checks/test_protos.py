"""The checks of the protos and of their stubs pass now, and fail where they must."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checks.stubs import ROOT, stale_stubs, write_stubs

BUF = Path(sys.executable).parent / "buf"
LINT = ("lint",)
FORMAT = ("format", "--diff", "--exit-code")
BREAKING = ("breaking", "--against", "baseline.binpb")
STUBS = ROOT / "client" / "python"
FIELD = "  string prompt = 2;\n"


@pytest.fixture
def protos(tmp_path: Path) -> Path:
    return shutil.copytree(ROOT / "protos", tmp_path / "protos")


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    shutil.copytree(STUBS / "leyden", tmp_path / "stubs" / "leyden")
    return tmp_path / "stubs"


def buf(protos: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BUF, *arguments], cwd=protos, check=False, capture_output=True, text=True
    )


def edit(protos: Path, pattern: str, replacement: str) -> None:
    path = protos / "leyden" / "v1" / "image_generation_service.proto"
    text, count = re.subn(pattern, replacement, path.read_text())
    assert count == 1, pattern
    path.write_text(text)


@pytest.mark.parametrize("check", [LINT, FORMAT, BREAKING], ids=lambda check: str(check[0]))
def test_checks_pass_on_the_protos_as_they_are(protos: Path, check: tuple[str, ...]) -> None:
    result = buf(protos, *check)

    assert result.returncode == 0, result.stdout + result.stderr


def test_breaking_notices_a_removed_field(protos: Path) -> None:
    edit(protos, FIELD, "")

    result = buf(protos, *BREAKING)

    assert result.returncode != 0
    assert 'field "2" with name "prompt"' in result.stdout


def test_breaking_notices_a_renumbered_field(protos: Path) -> None:
    edit(protos, FIELD, FIELD.replace("2", "99"))

    result = buf(protos, *BREAKING)

    assert result.returncode != 0
    assert 'field "2" with name "prompt"' in result.stdout


def test_breaking_allows_a_new_field(protos: Path) -> None:
    edit(protos, FIELD, f"{FIELD}\n  // OPTIONAL. New.\n  string new = 99;\n")

    assert buf(protos, *BREAKING).returncode == 0
    assert buf(protos, *LINT).returncode == 0


def test_lint_notices_a_field_without_a_comment(protos: Path) -> None:
    edit(protos, f"(?:  //.*\n)+{FIELD}", FIELD)

    result = buf(protos, *LINT)

    assert result.returncode != 0
    assert "prompt" in result.stdout


def test_format_notices_an_indent(protos: Path) -> None:
    edit(protos, FIELD, f"  {FIELD}")

    assert buf(protos, *FORMAT).returncode != 0


def test_stubs_are_up_to_date() -> None:
    assert stale_stubs(ROOT / "protos", STUBS) == []


def test_an_edited_stub_is_named_with_the_cure(stubs: Path) -> None:
    name = "leyden/v1/model_service_pb2.pyi"
    with (stubs / name).open("a") as stub:
        stub.write("# edited\n")

    script = ROOT / "tests" / "checks" / "stubs.py"
    result = subprocess.run(
        [sys.executable, script, "check", "--stubs", stubs],
        check=False,
        capture_output=True,
        text=True,
    )

    assert result.returncode == 1
    assert f"differs: {name}" in result.stderr
    assert "make protos" in result.stderr


def test_a_changed_proto_makes_its_stubs_stale_until_they_are_written(
    protos: Path, stubs: Path
) -> None:
    edit(protos, FIELD, f"{FIELD}\n  // OPTIONAL. New.\n  string new = 99;\n")

    assert stale_stubs(protos, stubs) == [
        "differs: leyden/v1/image_generation_service_pb2.py",
        "differs: leyden/v1/image_generation_service_pb2.pyi",
    ]
    write_stubs(protos, stubs)
    assert stale_stubs(protos, stubs) == []


def test_missing_and_leftover_stubs_are_named(stubs: Path) -> None:
    folder = stubs / "leyden" / "v1"
    (folder / "model_service_pb2.py").rename(folder / "gone_pb2.py")

    assert stale_stubs(ROOT / "protos", stubs) == [
        "missing: leyden/v1/model_service_pb2.py",
        "has no proto: leyden/v1/gone_pb2.py",
    ]
