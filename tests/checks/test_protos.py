"""The checks of the protos and of their stubs pass now, and fail where they must."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checks.stubs import FACADE, ROOT, stale_stubs, write_stubs
from google.rpc import status_pb2

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


@pytest.fixture(scope="module")
def template() -> dict[str, dict[str, Any]]:
    """The plugins of buf.gen.yaml, those that stand in comments too, by what they make."""
    text = (ROOT / "protos" / "buf.gen.yaml").read_text(encoding="utf-8")
    head, plugins = text.split("plugins:\n")
    assert yaml.safe_load(head) == {"version": "v2", "clean": True}
    lines = [re.sub(r"^# (?=- |  )", "  ", line) for line in plugins.splitlines()]
    found: list[dict[str, Any]] = yaml.safe_load("\n".join(lines))
    return {str(p.get("local") or p["protoc_builtin"]): p for p in found}


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


@pytest.mark.parametrize(
    ("file", "field", "number"),
    [
        ("google/rpc/status.proto", "message", 2),
        ("inference/grpc_service.proto", "raw_input_contents", 7),
        ("inference/model_config.proto", "model_transaction_policy", 19),
    ],
)
def test_given_protocols_are_guarded_and_not_linted(
    protos: Path, file: str, field: str, number: int
) -> None:
    path = protos / file
    text = path.read_text(encoding="utf-8")
    assert text.count(f" {field} = {number};") == 1
    path.write_text(text.replace(f" {field} = {number};", f" {field} = 99;"), encoding="utf-8")

    assert buf(protos, *LINT).returncode == 0
    result = buf(protos, *BREAKING)
    assert result.returncode != 0
    assert f'field "{number}" with name "{field}"' in result.stdout


def test_the_error_details_are_googles(tmp_path: Path) -> None:
    """Clients unpack by them what the server packs by the published package."""
    files = [f"google/rpc/{name}.proto" for name in ("code", "error_details", "status")]
    published = Path(status_pb2.__file__).parents[2]
    compiled: list[bytes] = []
    for folder in (ROOT / "protos", published):
        out = tmp_path / f"{len(compiled)}.binpb"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"-o{out}", *files]
        subprocess.run(command, check=True)
        compiled.append(out.read_bytes())

    assert compiled[0] == compiled[1]


def test_each_language_has_its_plugins(template: dict[str, dict[str, Any]]) -> None:
    assert list(template) == [
        *("protoc-gen-go", "protoc-gen-go-grpc"),
        "protoc-gen-es",
        *("java", "protoc-gen-grpc-java"),
        *("cpp", "grpc_cpp_plugin"),
    ]
    for plugin in template.values():
        assert plugin["out"].startswith("gen/"), plugin


def test_buf_takes_each_languages_plugins(
    protos: Path, template: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """Where nothing is on the PATH, buf asks for the very program that the block names."""
    own = protos / "own.yaml"
    for name, plugin in template.items():
        own.write_text(yaml.safe_dump({"version": "v2", "plugins": [plugin]}), encoding="utf-8")

        result = subprocess.run(
            [BUF, "generate", "--path", "leyden", "--template", own.name],
            cwd=protos,
            env={"PATH": str(tmp_path / "empty"), "HOME": str(tmp_path)},
            check=False,
            capture_output=True,
            text=True,
        )

        program = "protoc" if "protoc_builtin" in plugin else plugin["local"]
        assert f'"{program}": executable file not found' in result.stderr, (name, result.stderr)


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
    assert stale_stubs(ROOT / "protos", ROOT / FACADE.parent, FACADE) == []


def test_a_changed_protocol_makes_the_servers_stubs_stale(protos: Path) -> None:
    path = protos / "inference" / "grpc_service.proto"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("bool live = 1", "bool live = 2"), encoding="utf-8")

    assert stale_stubs(protos, ROOT / FACADE.parent, FACADE) == [
        "differs: inference/grpc_service_pb2.py"
    ]


def test_the_servers_stubs_leave_the_names_to_other_packages() -> None:
    """tritonclient and kserve put messages of the same names into the process's pool."""
    code = """
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
file = descriptor_pb2.FileDescriptorProto(name="grpc_service.proto", package="inference")
file.message_type.add(name="ModelInferRequest")
descriptor_pool.Default().Add(file)
import importlib.util
assert importlib.util.find_spec("inference") is None
"""
    subprocess.run([sys.executable, "-c", code], check=True)


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
