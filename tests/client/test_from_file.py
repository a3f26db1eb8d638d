"""`leyden generate --from FILE`: the request that makes an image again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from support.scripted_server import ScriptedServer, asked, whole_script

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_cli.main import main
from leyden_server.vae.image_file import encode_image

PARAMETERS: dict[str, object] = {
    "model": "tiny",
    "model_revision": "abc",  # as the scripted server's
    "prompt": "a lake\nat dawn 山",
    "negative_prompt": "fog",
    "seed": 2**53 - 2,
    "width_px": 56,
    "height_px": 40,
    "num_inference_steps": 3,
    "guidance_scale": 7.099999904632568,
    "solver": "euler_ancestral",
}
FIELDS: dict[str, Any] = {
    **{name: value for name, value in PARAMETERS.items() if name != "model_revision"},
    "solver": pb.SOLVER_EULER_ANCESTRAL,
    "image_count": 1,
}
FORMATS = [
    ("PNG", "png", pb.OUTPUT_FORMAT_PNG, 0),
    ("JPEG", "jpg", pb.OUTPUT_FORMAT_JPEG, 55),
    ("WEBP", "webp", pb.OUTPUT_FORMAT_WEBP, 55),
]


@pytest.fixture(autouse=True)
def _server(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEYDEN_SERVER", server.target)
    server.script = whole_script()


def written(
    path: Path, parameters: dict[str, object], image_format: str = "PNG", quality: int = 55
) -> Path:
    pixels = np.zeros((40, 56, 3), dtype=np.uint8)
    path.write_bytes(encode_image(pixels, image_format, quality, parameters))
    return path


@pytest.mark.parametrize(("image_format", "suffix", "wire", "quality"), FORMATS)
def test_every_parameter_reaches_the_request(
    server: ScriptedServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    image_format: str,
    suffix: str,
    wire: "pb.OutputFormat.ValueType",
    quality: int,
) -> None:
    source = written(tmp_path / f"a.{suffix}", PARAMETERS, image_format)
    assert main(["generate", "--from", str(source), "-o", str(tmp_path / f"b.{suffix}")]) == 0
    (request,) = server.requests
    assert asked(request, seed_is_given=True) == pb.GenerateImageRequest(
        **FIELDS, output_format=wire, output_quality=quality
    )
    assert "warning" not in capsys.readouterr().err


def test_what_is_given_takes_the_place_of_what_the_file_has(
    server: ScriptedServer, tmp_path: Path
) -> None:
    source = written(tmp_path / "a.webp", PARAMETERS, "WEBP")
    given: dict[str, str] = {
        "--model": "other",
        "--negative": "",
        "--seed": "0",
        "--steps": "9",
        "--width": "64",
        "--height": "32",
        "--guidance": "0",
        "--solver": "euler",
        "--quality": "7",
    }
    argv = [word for option in given.items() for word in option]
    output = str(tmp_path / "b.webp")
    assert main(["generate", "dunes", "--from", str(source), "-o", output, *argv]) == 0
    (request,) = server.requests
    assert asked(request, seed_is_given=True) == pb.GenerateImageRequest(
        model="other",
        prompt="dunes",
        negative_prompt="",
        seed=0,
        width_px=64,
        height_px=32,
        num_inference_steps=9,
        guidance_scale=0.0,
        solver=pb.SOLVER_EULER,
        image_count=1,
        output_format=pb.OUTPUT_FORMAT_WEBP,
        output_quality=7,
    )


def test_one_option_changes_one_thing(server: ScriptedServer, tmp_path: Path) -> None:
    source = written(tmp_path / "a.png", PARAMETERS)
    argv = ["generate", "--from", str(source), "-o", str(tmp_path / "b.png"), "--seed", "7"]
    assert main(argv) == 0
    (request,) = server.requests
    expected = pb.GenerateImageRequest(**FIELDS, output_format=pb.OUTPUT_FORMAT_PNG)
    expected.seed = 7
    assert asked(request, seed_is_given=True) == expected


def test_a_quality_is_not_carried_to_another_format(server: ScriptedServer, tmp_path: Path) -> None:
    source = written(tmp_path / "a.webp", PARAMETERS, "WEBP")
    for name in ("b.jpg", "b.png", "b.image"):
        assert main(["generate", "--from", str(source), "-o", str(tmp_path / name)]) == 0
    assert [(r.output_format, r.output_quality) for r in server.requests] == [
        (pb.OUTPUT_FORMAT_JPEG, 0),
        (pb.OUTPUT_FORMAT_PNG, 0),
        (pb.OUTPUT_FORMAT_WEBP, 55),  # an extension that says nothing: the file's own
    ]


def test_what_a_file_leaves_open_is_the_server_s_to_choose(
    server: ScriptedServer, tmp_path: Path
) -> None:
    source = written(tmp_path / "a.png", {"prompt": "a lake"})
    assert main(["generate", "--from", str(source), "-o", str(tmp_path / "b.png")]) == 0
    (request,) = server.requests
    assert asked(request) == pb.GenerateImageRequest(
        prompt="a lake", image_count=1, output_format=pb.OUTPUT_FORMAT_PNG
    )


def test_another_revision_of_the_model_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = written(tmp_path / "a.png", {**PARAMETERS, "model_revision": "older"})
    argv = ["generate", "--from", str(source), "-o", str(tmp_path / "b.png")]
    assert main(argv) == 0
    assert (
        f"warning: {source} was made by tiny at revision older, the server has abc: "
        "the image may differ" in capsys.readouterr().err.splitlines()
    )


def test_another_model_has_another_revision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = written(
        tmp_path / "a.png", {**PARAMETERS, "model": "large", "model_revision": "older"}
    )
    argv = ["generate", "--from", str(source), "-o", str(tmp_path / "b.png"), "--model", "tiny"]
    assert main(argv) == 0
    assert "revision" not in capsys.readouterr().err


def test_what_this_client_does_not_know_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = written(tmp_path / "a.png", {**PARAMETERS, "lora": "ink", "\x1b[2J": 1})
    assert main(["generate", "--from", str(source), "-o", str(tmp_path / "b.png")]) == 0
    err = capsys.readouterr().err
    assert f"warning: {source} has lora, which this leyden" in err
    assert rf"warning: {source} has \x1b[2J, which" in err
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("prompt", 3, "text"),
        ("model", None, "text"),
        ("seed", "7", "a whole number from 0 to 9007199254740991"),
        ("seed", True, "a whole number"),
        ("seed", -1, "a whole number"),
        ("seed", 2**53, "a whole number"),
        ("width_px", 2**31, "a whole number from 0 to 2147483647"),
        ("num_inference_steps", 1.5, "a whole number"),
        ("guidance_scale", "7", "a number"),
        ("guidance_scale", 1e9, "a number of at most 1000000"),
        ("solver", "heun", "one of euler, euler_ancestral"),
        ("solver", "unspecified", "one of euler, euler_ancestral"),
    ],
)
def test_a_value_that_cannot_be_is_named(
    server: ScriptedServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: object,
    allowed: str,
) -> None:
    source = written(tmp_path / "a.jpg", {**PARAMETERS, name: value}, "JPEG")
    assert main(["generate", "--from", str(source), "-o", str(tmp_path / "b.png")]) == 1
    assert f"{source} has {name} {value!r}, which is not {allowed}" in capsys.readouterr().err
    assert server.requests == []


def test_half_a_surrogate_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = PngInfo()
    info.add_itxt("leyden", r'{"prompt": "\ud800"}')
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    argv = ["generate", "--from", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png")]
    assert main(argv) == 1
    assert "which is not text in Unicode" in capsys.readouterr().err


def test_a_file_without_parameters_is_an_error(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(b"no image")
    assert main(["generate", "--from", str(source), "-o", str(tmp_path / "b.png")]) == 1
    assert f"error: {source} is not a PNG, JPEG or WebP image" in capsys.readouterr().err
    assert server.requests == []
