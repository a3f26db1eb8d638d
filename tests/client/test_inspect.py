"""`leyden inspect`: what made an image, read from files as the server writes them."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from leyden_cli.main import main
from leyden_client._image_file import ImageFileError, read_image_file
from leyden_server.vae.image_file import encode_image

PARAMETERS: dict[str, object] = {
    "model": "leyden-tiny",
    "model_revision": "sha256:abc",
    "prompt": 'a café in 京都, 100 % "real" [bold]\n🎨',
    "negative_prompt": "",
    "seed": 2**53 - 1,
    "width_px": 56,
    "height_px": 40,
    "num_inference_steps": 4,
    "guidance_scale": 7.5,
    "solver": "euler",
}
FORMATS = ["PNG", "JPEG", "WEBP"]
PIXELS = np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def written(folder: Path, image_format: str, parameters: dict[str, object] | None = None) -> Path:
    """Write a file as the server does."""
    path = folder / f"image.{image_format.lower()}"
    path.write_bytes(encode_image(PIXELS, image_format, 80, parameters or PARAMETERS))
    return path


def plain(image_format: str) -> bytes:
    """Return an image of another program's."""
    data = io.BytesIO()
    Image.fromarray(PIXELS).save(data, image_format)
    return data.getvalue()


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_is_read(tmp_path: Path, image_format: str) -> None:
    file = read_image_file(written(tmp_path, image_format))
    assert file.format == image_format.lower()
    assert (file.width_px, file.height_px) == (56, 40)
    quality = {} if image_format == "PNG" else {"output_quality": 80}
    assert file.parameters == {**PARAMETERS, **quality}


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_longest_prompts_are_read(tmp_path: Path, image_format: str) -> None:
    longest: dict[str, object] = {"prompt": "🎨" * 4096, "negative_prompt": "京" * 4096}
    parameters = read_image_file(written(tmp_path, image_format, longest)).parameters
    assert {name: parameters[name] for name in longest} == longest


def test_the_table_has_everything_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "WEBP", {**PARAMETERS, "prompt": "dunes [bold]", "lora": {"a": 1}})
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:14].strip() + " = " + line[14:].strip() for line in lines] == [
        f"file = {path}",
        "prompt = dunes [bold]",
        "model = leyden-tiny",
        "model revision = sha256:abc",
        f"seed = {2**53 - 1}",
        "steps = 4",
        "guidance = 7.5",
        "solver = euler",
        "quality = 80",
        "size = 56 x 40 px",
        "format = webp",
        'lora = {"a": 1}',
    ]


def test_control_characters_of_a_file_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "PNG", {"prompt": "\x1b]0;title\x07\x9b2J\u2028", "\x1b[2J": "x"})
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert r"\x1b]0;title\x07\x9b2J" in out
    assert not {"\x1b", "\x07", "\x9b"} & set(out)


@pytest.mark.parametrize("image_format", FORMATS)
def test_json_is_one_object_for_each_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], image_format: str
) -> None:
    path = written(tmp_path, image_format)
    assert main(["inspect", "--json", str(path), str(path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    shown = json.loads(first)
    parameters = shown.pop("parameters")
    assert shown == {
        "path": str(path),
        "format": image_format.lower(),
        "width_px": 56,
        "height_px": 40,
    }
    assert {name: parameters[name] for name in PARAMETERS} == PARAMETERS


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_file_of_another_program_is_a_clear_error_and_the_next_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], image_format: str
) -> None:
    other = tmp_path / "other"
    other.write_bytes(plain(image_format))
    assert main(["inspect", str(other), str(written(tmp_path, "PNG"))]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {other} does not say what made it")
    assert "leyden-tiny" in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a PNG, JPEG or WebP image"),
        (b"GIF89a" + bytes(100), "is not a PNG, JPEG or WebP image"),
        (b"\x89PNG\r\n\x1a\n", "is damaged or cut short"),
        (b"\xff\xd8\xff\xe0", "is damaged or cut short"),
        (b"\xff\xd8\xff\xda\x00\x02", "is damaged: a JPEG without its size"),
        (b"RIFF\x04\x00\x00\x00WEBP", "does not say what made it"),
    ],
)
def test_what_is_no_image_is_a_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert main(["inspect", str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {path} {message}")


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "none.png")]) == 1
    assert "No such file" in capsys.readouterr().err


# ---- files that other programs have saved again -----------------------------------


@pytest.mark.parametrize("order", ["MM", "II"])
@pytest.mark.parametrize("end", ["be", "le"])
def test_exif_of_either_byte_order_is_read(tmp_path: Path, order: str, end: str) -> None:
    exif = Image.Exif()
    exif.endian = ">" if order == "MM" else "<"
    comment = json.dumps({"prompt": "a lake"}).encode(f"utf-16-{end}")
    exif.get_ifd(IFD.Exif)[Base.UserComment] = b"UNICODE\0" + comment
    for image_format in ("JPEG", "WEBP"):
        path = tmp_path / image_format
        Image.fromarray(PIXELS).save(path, image_format, exif=exif)
        assert f"{order}".encode() in path.read_bytes()
        assert read_image_file(path).parameters == {"prompt": "a lake"}


def test_a_compressed_text_is_read_and_a_bomb_is_not_blown_up(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    info = PngInfo()
    info.add_itxt("leyden", '{"prompt": "a lake"}', zip=True)
    Image.fromarray(PIXELS).save(path, pnginfo=info)
    assert read_image_file(path).parameters == {"prompt": "a lake"}
    bomb = b"leyden\0\1\0\0\0" + zlib.compress(b'{"prompt": "' + b"x" * 2**24 + b'"}', 9)
    chunk = struct.pack(">I", len(bomb)) + b"iTXt" + bomb
    chunk += struct.pack(">I", zlib.crc32(b"iTXt" + bomb))
    whole = plain("PNG")
    path.write_bytes(whole[:33] + chunk + whole[33:])
    with pytest.raises(ImageFileError, match="does not say"):
        read_image_file(path)


@pytest.mark.parametrize(
    "comment",
    [b"ASCII\0\0\0a comment", b"", b"UNICODE\0", b"UNICODE\0\xd8", b"JIS\0\0\0\0\0x"],
)
def test_a_comment_of_a_camera_is_not_taken_for_parameters(tmp_path: Path, comment: bytes) -> None:
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.UserComment] = comment
    path = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(path, exif=exif)
    with pytest.raises(ImageFileError, match="does not say"):
        read_image_file(path)


@pytest.mark.parametrize("text", ["[1]", "3", '"prompt"', "{}", "[" * 100_000, '{"prompt": '])
def test_other_json_is_not_taken_for_parameters(tmp_path: Path, text: str) -> None:
    info = PngInfo()
    info.add_itxt("leyden", text)
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path, pnginfo=info)
    with pytest.raises(ImageFileError, match="does not say"):
        read_image_file(path)


@pytest.mark.parametrize("image_format", FORMATS)
def test_no_damage_is_more_than_an_error(tmp_path: Path, image_format: str) -> None:
    """Cut anywhere, and with any byte of the heads changed: parameters or `ImageFileError`."""
    whole = written(tmp_path, image_format).read_bytes()
    path = tmp_path / "damaged"
    rng = np.random.default_rng(2)
    head = min(len(whole), 700)
    cases = [whole[:cut] for cut in range(head)]
    for position in range(head):
        broken = bytearray(whole)
        broken[position] = rng.integers(0, 256)
        cases.append(bytes(broken))
    outcomes = set()
    for case in cases:
        path.write_bytes(case)
        try:
            read_image_file(path)
            outcomes.add("read")
        except ImageFileError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
