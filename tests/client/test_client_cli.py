"""The `leyden` command against a real server."""

import json
import os
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from support.scripted_server import (
    Fail,
    ScriptedServer,
    asked,
    image,
    model,
    numbered,
    queued,
    seconds,
    summary,
    whole_script,
)

import leyden_client
from leyden.v1 import image_generation_service_pb2 as pb
from leyden_cli import main as cli_main
from leyden_cli.arguments import address
from leyden_cli.main import main


@pytest.fixture(autouse=True)
def _address(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEYDEN_SERVER", server.target)


def usage_error(argv: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- generate ---------------------------------------------------------------------


def test_generate_writes_the_image(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = whole_script(b"pixels")
    output = tmp_path / "out.png"
    output.write_bytes(b"an older image")
    assert main(["generate", "a prompt", "-o", str(output)]) == 0
    assert output.read_bytes() == b"pixels"
    assert names_in(tmp_path) == ["out.png"]
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{output}  seed 7  64 x 32 px  0.0 kB",
        "tiny took 3.75 s (queue 0.50, text 0.25, denoise 2.00, decode and encode 0.62)",
    ]
    assert err.splitlines() == [
        "queued, 2 ahead, about 1.5 s to wait",
        "text encoded (9 tokens)",
        "image 0: step 1 of 2, 0.2 s since the start, 0.2 s left",
        "image 0: step 2 of 2, 0.5 s since the start, 0.0 s left",
        f"image 0: written to {output}",
    ]
    (request,) = server.requests
    assert asked(request) == pb.GenerateImageRequest(
        prompt="a prompt", image_count=1, output_format=pb.OUTPUT_FORMAT_PNG
    )


def test_every_option_reaches_the_request(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = numbered(image(b"0", 0), image(b"1", 1), summary(2))
    options = {
        "--model": "tiny",
        "--negative": "fog",
        "--seed": "0",
        "--steps": "3",
        "--width": "64",
        "--height": "32",
        "--guidance": "0",
        "--solver": "euler_ancestral",
        "--count": "2",
        "--format": "webp",
        "--quality": "80",
        "--preview-size": "16",
        "--request-id": "mine",
        "--timeout": "60",
        "--linger": "2.5",
        "--priority": "3",
    }
    argv = [word for option in options.items() for word in option]
    previews = tmp_path / "made" / "previews"
    output = tmp_path / "out.image"
    assert main(["generate", "p", "-o", str(output), "--previews", str(previews), *argv]) == 0
    (request,) = server.requests
    assert request == pb.GenerateImageRequest(
        model="tiny",
        prompt="p",
        negative_prompt="fog",
        seed=0,
        width_px=64,
        height_px=32,
        num_inference_steps=3,
        guidance_scale=0.0,
        solver=pb.SOLVER_EULER_ANCESTRAL,
        image_count=2,
        output_format=pb.OUTPUT_FORMAT_WEBP,
        output_quality=80,
        preview=pb.PreviewOptions(size_px=16, format=pb.OUTPUT_FORMAT_PNG),
        request_id="mine",
        linger_duration=seconds(2.5),
        priority=3,
    )
    assert names_in(tmp_path) == ["made", "out-0.image", "out-1.image"]
    assert (tmp_path / "out-1.image").read_bytes() == b"1"


def test_the_extension_says_the_format(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = whole_script()
    for name in ("a.JPG", "a.jpeg", "a.webp"):
        assert main(["generate", "p", "-o", str(tmp_path / name)]) == 0
    assert [request.output_format for request in server.requests] == [
        pb.OUTPUT_FORMAT_JPEG,
        pb.OUTPUT_FORMAT_JPEG,
        pb.OUTPUT_FORMAT_WEBP,
    ]


def test_json_is_one_object_for_each_event(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warning = pb.Warning(reason="PROMPT_TRUNCATED", field="prompt", message="it was cut")
    server.script = whole_script(b"pixels", warnings=[warning])
    output, previews = tmp_path / "out.png", tmp_path / "previews"
    argv = ["generate", "p", "-o", str(output), "--previews", str(previews), "--json"]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == [
        "queued",
        "text_encoded",
        "denoise_progress",
        "denoise_progress",
        "image",
        "summary",
    ]
    assert events[0]["expected_wait_s"] == 1.5
    assert events[2]["preview"] == {
        "format": "jpeg",
        "width_px": 8,
        "height_px": 8,
        "size_bytes": 5,
        "path": str(previews / "image-0-step-1.png"),
    }
    assert (events[4]["size_bytes"], events[4]["path"]) == (6, str(output))
    assert events[5]["bill"]["images"][0]["steps"][0] == {"duration_s": 1.0, "batch_rows": 3}
    assert (previews / "image-0-step-1.png").read_bytes() == b"rough"
    assert (previews / "image-0-step-2.png").read_bytes() == b"finer"
    assert err == "warning: it was cut (PROMPT_TRUNCATED)\n"


def test_an_image_that_is_done_stays_when_the_rest_fails(
    server: ScriptedServer, tmp_path: Path
) -> None:
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", metadata={"error_id": "e-1"})
    fail = Fail(grpc.StatusCode.INTERNAL, "a defect", [info])
    server.script = [*numbered(image(b"first", 0)), fail]
    assert main(["generate", "p", "-o", str(tmp_path / "a.png"), "--count", "2"]) == 1
    assert (tmp_path / "a-0.png").read_bytes() == b"first"


@pytest.mark.parametrize(
    ("output", "message"), [("missing/out.png", "does not exist"), (".", "is a directory")]
)
def test_an_output_that_cannot_be_written_is_noticed_first(
    server: ScriptedServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    output: str,
    message: str,
) -> None:
    argv = ["generate", "p", "-o", str(tmp_path / output), "--format", "png"]
    assert main(argv) == 1
    assert message in capsys.readouterr().err
    assert server.requests == []


def test_a_device_is_written_and_not_replaced(server: ScriptedServer) -> None:
    server.script = whole_script()
    assert main(["generate", "p", "-o", os.devnull, "--format", "png"]) == 0
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["generate", "p", "-o", "out.gif"], "--format"),
        (["generate", "p"], "-o/--output (or --detach)"),
        (["generate", "-o", "a.png"], "PROMPT (or --from FILE)"),
        (["generate", "p", "-o", "a.png", "--seed", "-1"], "not from 0"),
        (["generate", "p", "-o", "a.png", "--steps", "four"], "'four' is not a whole number"),
        (["generate", "p", "-o", "a.png", "--guidance", "nan"], "not a finite number"),
        (["generate", "p", "-o", "a.png", "--timeout", "0"], "not above 0"),
        (["generate", "p", "-o", "a.png", "--preview-size", "9"], "needs --previews"),
        (["generate", "p", "-o", "a.png", "--solver", "heun"], "euler_ancestral"),
        ([], "COMMAND"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert usage_error(argv) == 2
    assert message in capsys.readouterr().err
    assert server.requests == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["genrate", "p"], "leyden: error: there is no command 'genrate'; did you mean generate?"),
        (["zzz"], "leyden: error: there is no command 'zzz'; there are bench, "),
        (["--vershun"], "leyden: error: there is no option --vershun; did you mean --version?"),
        (
            ["generate", "p", "--ouput", "a.png"],
            "leyden generate: error: there is no option --ouput; did you mean --output?",
        ),
        (["generate", "p", "-o", "a.png", "--out=b"], "did you mean --output?"),
        (["generate", "p", "-x"], "leyden generate: error: there is no option -x (see leyden"),
        (
            ["models", "--jsn"],
            "leyden models: error: there is no option --jsn; did you mean --json",
        ),
        (["watch"], "leyden watch: error: the following arguments are required: ID"),
    ],
)
def test_wrong_usage_is_one_line_with_what_was_probably_meant(
    capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert usage_error(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert "--help" in line


def test_what_looks_like_an_option_and_is_none(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = whole_script()
    output = f"-o{tmp_path / 'a.png'}"
    assert main(["generate", "--x and y", output, "--guidance", "-1.5"]) == 0
    assert main(["generate", output, "--", "--ouput"]) == 0
    first, second = server.requests
    assert (first.prompt, first.guidance_scale) == ("--x and y", -1.5)
    assert second.prompt == "--ouput"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("gpu-1", "gpu-1:8001"),
        ("gpu-1:9000", "gpu-1:9000"),
        ("10.0.0.7", "10.0.0.7:8001"),
        ("::1", "[::1]:8001"),
        ("[::1]", "[::1]:8001"),
        ("[::1]:9000", "[::1]:9000"),
        ("unix:/run/leyden", "unix:/run/leyden"),
        ("dns:///gpu-1:9000", "dns:///gpu-1:9000"),
    ],
)
def test_the_address_of_a_server(text: str, target: str) -> None:
    assert address(text) == target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://gpu-1:8001", "is a URL; gRPC takes HOST:PORT, without http://"),
        ("https://gpu-1", "without https://"),
        ("gpu-1:grpc", "a port that is not from 1 to 65535"),
        ("gpu-1:65536", "a port that is not from 1 to 65535"),
        (":8001", "has no host"),
        ("", "has no host"),
    ],
)
def test_an_address_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    assert usage_error(["models", "--server", text]) == 2
    assert message in capsys.readouterr().err
    monkeypatch.setenv("LEYDEN_SERVER", text)
    assert usage_error(["models"]) == 2
    assert message in capsys.readouterr().err


# ---- failures in words ------------------------------------------------------------


def test_a_wrong_field_is_named_by_its_option(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field="width_px", description="at most 1024, a multiple of 8"
    )
    details = [
        error_details_pb2.ErrorInfo(reason="INVALID_REQUEST"),
        error_details_pb2.BadRequest(field_violations=[violation]),
    ]
    server.script = [Fail(grpc.StatusCode.INVALID_ARGUMENT, "wrong", details)]
    output = tmp_path / "out.png"
    assert main(["generate", "p", "-o", str(output)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: the request is not valid",
        "  --width (width_px): at most 1024, a multiple of 8",
        "reason: INVALID_REQUEST",
    ]
    assert not output.exists()


def test_a_full_queue_says_when_to_try_again(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = [
        error_details_pb2.ErrorInfo(reason="QUEUE_FULL"),
        error_details_pb2.RetryInfo(retry_delay=seconds(2.5)),
    ]
    server.script = [Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", details)]
    assert main(["generate", "p", "-o", str(tmp_path / "out.png")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: the queue is full",
        "reason: QUEUE_FULL",
        "try again in 2.5 s",
    ]


@pytest.mark.parametrize("reason", ["OUT_OF_MEMORY", "READER_TOO_SLOW"])
def test_what_will_not_pass_is_not_to_be_tried_again(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    info = error_details_pb2.ErrorInfo(reason=reason)
    server.script = [Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "in words", [info])]
    assert main(["generate", "p", "-o", str(tmp_path / "out.png")]) == 1
    assert capsys.readouterr().err.splitlines() == ["error: in words", f"reason: {reason}"]


def test_a_message_over_the_limit_is_called_that(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = whole_script(bytes(5 * 2**20))
    assert main(["generate", "p", "-o", str(tmp_path / "out.png")]) == 1
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert first.startswith("error: a message is over gRPC's size limit (")
    assert "again" not in second


def test_a_defect_has_its_id(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", metadata={"error_id": "e-1"})
    server.script = [Fail(grpc.StatusCode.INTERNAL, "a defect", [info])]
    assert main(["generate", "p", "-o", str(tmp_path / "out.png")]) == 1
    assert "log has it under e-1" in capsys.readouterr().err


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--server", "127.0.0.1:1"]) == 1
    err = capsys.readouterr().err
    assert "the server at 127.0.0.1:1 is not there" in err
    assert "leyden serve" in err


def test_a_stream_that_breaks_the_protocol(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = numbered(queued())
    assert main(["generate", "p", "-o", str(tmp_path / "out.png")]) == 1
    assert "broke the protocol" in capsys.readouterr().err


# ---- models and the rest ----------------------------------------------------------


def test_the_table_of_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    header, other, tiny = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["name", "state", "steps", "guidance", "size", "licence", "default"]
    assert other[:3] == ["other", "not", "loaded"]
    assert " ".join(tiny) == "tiny ready 1 to 8 0 to 7.5 64 x 32 Apache-2.0 *"


def test_one_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "other"]) == 0
    out = capsys.readouterr().out
    assert "start the server with --model other" in out
    assert "a model [small] for tests" in out


def test_a_model_says_what_it_needs_and_which_words_it_knows(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.models = [
        model("absent", is_default=False, files_present=False),
        model("small", known_words=["dawn", "lake"]),
    ]
    assert main(["models"]) == 0
    assert "not fetched" in capsys.readouterr().out.splitlines()[1]
    assert main(["models", "small"]) == 0
    assert "words        dawn, lake\n" in capsys.readouterr().out
    assert main(["models", "absent"]) == 0
    out = capsys.readouterr().out
    assert "state        not fetched\n" in out
    assert "words" not in out


def test_models_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    models = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [model["name"] for model in models] == ["other", "tiny"]
    assert models[1]["solvers"] == ["euler", "euler_ancestral"]
    assert (models[1]["files_present"], models[1]["known_words"]) == (True, [])


def test_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "none"]) == 1
    assert "no model 'none'" in capsys.readouterr().err


def test_models_are_loaded_and_unloaded(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "load", "tiny"]) == 0
    assert capsys.readouterr().out.startswith("tiny is ready: ")
    assert main(["models", "load", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"
    assert main(["models", "unload", "tiny"]) == 0
    assert capsys.readouterr().out == "tiny is not loaded\n"
    assert (server.loads, server.unloads) == (["tiny", "tiny"], ["tiny"])
    info = error_details_pb2.ErrorInfo(reason="MODEL_LOAD_FAILED")
    server.load_fails = Fail(grpc.StatusCode.FAILED_PRECONDITION, "unet.st: holds NaN", [info])
    assert main(["models", "load", "tiny"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: unet.st: holds NaN",
        "reason: MODEL_LOAD_FAILED",
    ]
    assert usage_error(["models", "load"]) == 2
    assert usage_error(["models", "unload", "a", "b"]) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_error(["--version"]) == 0
    assert capsys.readouterr().out == f"leyden {leyden_client.__version__}\n"


@pytest.mark.parametrize("argv", [["--help"], ["generate", "--help"], ["models", "--help"]])
def test_help_names_the_default_server(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    assert usage_error(argv) == 0
    out = capsys.readouterr().out
    assert "example" in out
    if argv == ["--help"]:
        assert "    serve " in out
    else:
        assert "127.0.0.1:8001" in out
        assert server.target in out


@pytest.mark.parametrize("rest", [[], ["--help"], ["--model", "tiny", "x"]])
def test_serve_without_the_server_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rest: list[str]
) -> None:
    monkeypatch.setattr(cli_main, "entry_points", lambda *, group: ())
    assert usage_error(["--help"]) == 0
    assert "serve" in capsys.readouterr().out
    for command in (["serve"], ["models", "pull"]):
        assert main([*command, *rest]) == 1
        assert capsys.readouterr().err == (
            "error: the server is not installed; install it with: pip install client/python . "
            "(in a clone of Leyden)\n"
        )


def test_without_rich_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_main, "find_spec", lambda _name: None)
    assert main(["models"]) == 1
    assert capsys.readouterr().err == (
        "error: the leyden command needs rich: pip install 'leyden-client[cli]'\n"
    )
