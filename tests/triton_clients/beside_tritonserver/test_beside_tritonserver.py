"""The same requests to a real tritonserver and to Leyden, and what the two answer.

Where they differ the table in docs/triton.md says so, and why; a difference that it has not fails,
and a row that is no difference fails too.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from triton_clients.beside_tritonserver.cases import CASES, MODEL, Case
from triton_clients.beside_tritonserver.other_calls import CALLS, Call, segment
from triton_clients.beside_tritonserver.write_repository import DECOUPLED
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as pb_grpc

PAGE = Path(__file__).resolve().parents[3] / "docs" / "triton.md"
ROW = re.compile(r"^\| ([^|]+) \| `([A-Z_]+)` \| `([A-Z_]+)` \| [^|]+ \|$", re.MULTILINE)
PATIENCE_S = 300
AS_STATUSES = (("triton_grpc_error", "true"),)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server made of a request."""

    code: str
    outputs: tuple[Any, ...] = ()
    """Name, datatype and shape of each, where the code is OK."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    stub: Any
    decoupled: str
    """What comes behind the model's name where it is to be decoupled."""

    def send(self, case: Case) -> Answer:
        request = pb.ModelInferRequest()
        request.CopyFrom(case.request)
        if request.model_name == MODEL:
            suffix = self.decoupled if case.decoupled else ""
            request.model_name = os.environ["LEYDEN_MODEL"] + suffix
        try:
            if case.streams:
                calls = self.stub.ModelStreamInfer(
                    iter([request]), timeout=PATIENCE_S, metadata=AS_STATUSES
                )
                answers = [message.infer_response for message in calls]
            else:
                answers = [self.stub.ModelInfer(request, timeout=PATIENCE_S)]
        except grpc.RpcError as error:
            return Answer(error.code().name, message=error.details() or "")
        outputs = [output for answer in answers for output in answer.outputs]
        return Answer("OK", tuple(sorted((o.name, o.datatype, tuple(o.shape)) for o in outputs)))

    def call(self, call: Call) -> Answer:
        """Make another call, after what it needs; then forget every region."""
        request = type(call.request)()
        request.CopyFrom(call.request)
        if getattr(request, "name", "") == MODEL:
            request.name = os.environ["LEYDEN_MODEL"]
        try:
            for region in call.before:
                self.stub.SystemSharedMemoryRegister(region, timeout=PATIENCE_S)
            answer = getattr(self.stub, call.method)(request, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            return Answer(error.code().name, message=error.details() or "")
        finally:
            self.stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())
        return Answer("OK", (answer.ready,) if call.method == "ModelReady" else ())


def server(variable: str, decoupled: str) -> Server:
    channel = grpc.insecure_channel(os.environ[variable])
    return Server(pb_grpc.GRPCInferenceServiceStub(channel), decoupled)


@pytest.fixture(scope="module")
def triton() -> Server:
    return server("TRITON_ADDRESS", DECOUPLED)


@pytest.fixture(scope="module")
def leyden() -> Server:
    return server("LEYDEN_ADDRESS", "")


TEXT = PAGE.read_text("utf-8")
DIFFERENCES = {name.strip(): codes for name, *codes in ROW.findall(TEXT)}


def compare(name: str, theirs: Answer, ours: Answer) -> None:
    said = f"Triton {theirs}, Leyden {ours}"
    if name in DIFFERENCES:
        assert [theirs.code, ours.code] == DIFFERENCES[name], said
        assert theirs.code != ours.code, f"no difference: {said}"
    else:
        assert theirs.code == ours.code, f"not in the table of {PAGE.name}: {said}"
        assert theirs.outputs == ours.outputs, said


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_answer_alike_or_the_page_says_why_not(
    case: Case, triton: Server, leyden: Server
) -> None:
    compare(case.name, triton.send(case), leyden.send(case))


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_so_do_calls_beside_inference(call: Call, triton: Server, leyden: Server) -> None:
    with segment():
        theirs = triton.call(call)
    with segment():
        ours = leyden.call(call)
    compare(call.name, theirs, ours)


def test_the_table_is_about_these_requests() -> None:
    assert len(CASES) == 40
    names = [each.name for each in (*CASES, *CALLS)]
    assert len(names) == len(set(names))
    (section,) = re.findall(r"^## Differences.*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert len(DIFFERENCES) == len(rows) - 1 > 0, "all but the heading are read"
    assert set(DIFFERENCES) <= set(names)
