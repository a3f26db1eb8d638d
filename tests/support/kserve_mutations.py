"""Changes right requests of KServe's protocol, mostly to wrong ones; the same for each seed."""

import random
from collections.abc import Callable, Sequence

from google.protobuf.message import Message
from support.kserve import infer_request

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb

__all__ = ["Mutations"]

NUMBERS = (0, 1, -1, 2, 7, 64, 65, 2**31 - 1, -(2**31))
LONG_NUMBERS = (*NUMBERS, 2**53, 2**63 - 1, -(2**63), -1420042007188224409)
FRACTIONS = (0.0, 1.0, -1.0, 1e38, float("nan"), float("inf"), float("-inf"))
TEXTS = (b"", b"None", b"x", b"\xff\xfe", b"\0", b"a" * 5000, "\u2603".encode(), b"PNG", b"GIF")
NAMES = ("", "prompt", "image", "priority", "timeout", "triton_x", "sequence_id", "\n", "../x")
DATATYPES = ("BYTES", "INT32", "INT64", "FP32", "UINT8", "FP16", "", "int32", "x" * 300)
INPUTS = ("prompt", "negative_prompt", "seed", "width_px", "height_px", "image_count",
          "num_inference_steps", "guidance_scale", "output_format", "INPUT0")  # fmt: skip
OUTPUTS = ("image", "generated_image", "seed", "progress", "preview", "OUTPUT0", "")
SHAPES = ((), (1,), (0, 1), (1, 1), (2, 1), (1, 2), (-1, 1), (999, 1), (2**62, 1), (1,) * 40)


class Mutations:
    """Requests for one model, each changed in one to four places."""

    def __init__(self, model: str, seed: int) -> None:
        self._model = model
        self._dice = random.Random(seed)

    def infer(self) -> bytes:
        """Return the bytes of a ModelInferRequest."""
        rows = self._dice.choice((1, 1, 1, 2, 8, 9, 40))
        request = infer_request(
            self._model,
            self._dice.sample(OUTPUTS[:5], self._dice.randrange(4)),
            request_id=self._dice.choice(("", "same", "a\nb", "i" * 2000)),
            prompt=["a red square"] * rows,
            seed=[self._dice.choice(LONG_NUMBERS) for _ in range(rows)],
            guidance_scale=[1.0] * rows,
            width_px=[64] * rows,  # the least: those that are right after all cost little
            height_px=[64] * rows,
        )
        for _ in range(self._dice.randint(1, 4)):
            self._dice.choice(CHANGES)(request, self._dice)
        return self._spoilt(request)

    def other(self) -> tuple[str, bytes]:
        """Return a method that generates nothing, and the bytes of a request for it.

        No model is loaded or unloaded: those names are no model's.
        """
        dice = self._dice
        name = dice.choice(("", "nobody", "../../etc", "x" * 5000, "a\0b"))
        own = dice.choice((self._model, name))
        version = dice.choice(("", "1", "2", "-1", "9" * 50, "one"))
        number = dice.choice((0, 1, 4096, 2**63, 2**64 - 1))
        key = dice.choice(("/pixels", "/../etc/passwd", "", "/", "/ray_x", "/a/b", "/" + "k" * 300))
        method, request = dice.choice(
            (
                ("ModelReady", pb.ModelReadyRequest(name=own, version=version)),
                ("ModelMetadata", pb.ModelMetadataRequest(name=own, version=version)),
                ("ModelConfig", pb.ModelConfigRequest(name=own, version=version)),
                ("ModelStatistics", pb.ModelStatisticsRequest(name=own, version=version)),
                ("RepositoryIndex", pb.RepositoryIndexRequest(repository_name=name)),
                ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=name)),
                ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=name)),
                ("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest(name=name)),
                (
                    "SystemSharedMemoryRegister",
                    pb.SystemSharedMemoryRegisterRequest(
                        name=name, key=key, offset=number, byte_size=dice.choice((0, 1, 2**64 - 1))
                    ),
                ),
                ("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest(name=name)),
                ("CudaSharedMemoryRegister", pb.CudaSharedMemoryRegisterRequest(name=name)),
                ("TraceSetting", _settings(pb.TraceSettingRequest(model_name=own), dice)),
                ("LogSettings", _settings(pb.LogSettingsRequest(), dice)),
            )
        )
        is_whole = dice.random() < 0.9
        return method, request.SerializeToString() if is_whole else dice.randbytes(40)

    def _spoilt(self, request: Message) -> bytes:
        """Return a request's bytes, one in ten of them no message any more."""
        data = bytearray(request.SerializeToString())
        if self._dice.random() < 0.1:
            kind = self._dice.randrange(3)
            if kind == 0:
                del data[self._dice.randrange(len(data)) :]
            elif kind == 1:
                data[self._dice.randrange(len(data))] ^= self._dice.randrange(1, 256)
            else:
                return self._dice.randbytes(self._dice.randrange(200))
        return bytes(data)


Change = Callable[[pb.ModelInferRequest, random.Random], None]


def _settings(
    request: pb.TraceSettingRequest | pb.LogSettingsRequest, dice: random.Random
) -> Message:
    name = dice.choice(("trace_file", "trace_rate", "log_file", "log_verbose_level", "x" * 500, ""))
    if isinstance(request, pb.TraceSettingRequest):
        request.settings[name].value.extend(dice.choice(((), ("1",), ("/tmp/x", "y"))))
    else:
        request.settings[name].string_param = dice.choice(("", "/tmp/x", "1"))
    return request


def _drop_input(request: pb.ModelInferRequest, dice: random.Random) -> None:
    if request.inputs:
        del request.inputs[dice.randrange(len(request.inputs))]


def _drop_raw(request: pb.ModelInferRequest, dice: random.Random) -> None:
    if request.raw_input_contents:
        del request.raw_input_contents[dice.randrange(len(request.raw_input_contents))]


def _other_raw(request: pb.ModelInferRequest, dice: random.Random) -> None:
    if request.raw_input_contents:
        index = dice.randrange(len(request.raw_input_contents))
        request.raw_input_contents[index] = dice.choice(
            (b"", b"\0" * 4, b"\xff" * 4, b"\xff" * 8, b"\1\0\0\0\xff", dice.randbytes(30))
        )


def _twice(request: pb.ModelInferRequest, dice: random.Random) -> None:
    if request.inputs:
        request.inputs.add().CopyFrom(dice.choice(request.inputs))


def _datatype(request: pb.ModelInferRequest, dice: random.Random) -> None:
    if request.inputs:
        dice.choice(request.inputs).datatype = dice.choice(DATATYPES)


def _shape(request: pb.ModelInferRequest, dice: random.Random) -> None:
    if request.inputs:
        chosen = dice.choice(request.inputs)
        del chosen.shape[:]
        chosen.shape.extend(dice.choice(SHAPES))


def _typed(request: pb.ModelInferRequest, dice: random.Random) -> None:
    """Add an input with typed contents, right or wrong, beside those that are raw."""
    name = dice.choice(INPUTS)
    rows = dice.choice((1, 1, 2))
    added = request.inputs.add(name=name, shape=[rows, 1], datatype=dice.choice(DATATYPES[:4]))
    for _ in range(dice.choice((rows, rows, 0, 3))):
        field, values = dice.choice(TYPED)
        getattr(added.contents, field).append(dice.choice(values))


TYPED: Sequence[tuple[str, Sequence[object]]] = (
    ("int_contents", NUMBERS),
    ("int64_contents", LONG_NUMBERS),
    ("fp32_contents", FRACTIONS),
    ("bytes_contents", TEXTS),
    ("bool_contents", (True,)),
)


def _number(request: pb.ModelInferRequest, dice: random.Random) -> None:
    name = dice.choice(("width_px", "height_px", "image_count", "num_inference_steps"))
    added = request.inputs.add(name=name, shape=[1, 1], datatype="INT32")
    added.contents.int_contents.append(dice.choice(NUMBERS))


def _guidance(request: pb.ModelInferRequest, dice: random.Random) -> None:
    for each in request.inputs:
        if each.name == "guidance_scale":
            request.inputs.remove(each)
            break
    added = request.inputs.add(name="guidance_scale", shape=[1, 1], datatype="FP32")
    added.contents.fp32_contents.append(dice.choice(FRACTIONS))


def _output(request: pb.ModelInferRequest, dice: random.Random) -> None:
    request.outputs.add(name=dice.choice(OUTPUTS))


def _parameter(request: pb.ModelInferRequest, dice: random.Random) -> None:
    value = request.parameters[dice.choice(NAMES)]
    choice, values = dice.choice(
        (
            ("int64_param", LONG_NUMBERS),
            ("uint64_param", (0, 9, 10, 2**64 - 1)),
            ("bool_param", (True, False)),
            ("double_param", FRACTIONS),
            ("string_param", ("", "5", "x" * 1000)),
        )
    )
    setattr(value, choice, dice.choice(values))


def _memory(request: pb.ModelInferRequest, dice: random.Random) -> None:
    if dice.random() < 0.5 and request.inputs:
        parameters = dice.choice(request.inputs).parameters
    else:
        parameters = request.outputs.add(name=dice.choice(OUTPUTS)).parameters
    parameters["shared_memory_region"].string_param = dice.choice(("", "pixels", "nobody"))
    parameters["shared_memory_byte_size"].int64_param = dice.choice(LONG_NUMBERS)
    parameters["shared_memory_offset"].int64_param = dice.choice(LONG_NUMBERS)


def _model(request: pb.ModelInferRequest, dice: random.Random) -> None:
    request.model_name = dice.choice(("", "nobody", "../x", "m" * 3000, "a\nb"))


def _version(request: pb.ModelInferRequest, dice: random.Random) -> None:
    request.model_version = dice.choice(("1", "2", "0", "-1", "one", "9" * 40, "\u0661"))


CHANGES: Sequence[Change] = (
    _drop_input, _drop_raw, _other_raw, _twice, _datatype, _shape, _typed, _number, _guidance,
    _output, _parameter, _memory, _model, _version,
)  # fmt: skip
