"""A config with more replicas: Gateways share the port, and a Denoiser under load gets help."""

import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from cli.conftest import running
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from support.running_server import details_of, eventually, request

from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden_client import Client

CONFIG = """
models: [leyden-tiny-base]
gateway: {port: 0, replicas: 2, drain_timeout_s: 0.5}
denoiser:
  max_replicas: 2
  target_ongoing_requests: 1
  upscale_delay_s: 0
"""


def test_replicas_share_the_port_and_the_load(tmp_path: Path) -> None:
    (tmp_path / "leyden.yaml").write_text(CONFIG)
    with running(["serve", "--config", "leyden.yaml"], tmp_path) as server:
        address = server.stdout_line().removeprefix("ready: grpc ")
        gateways: set[str] = set()
        denoisers: set[str] = set()
        done = threading.Event()

        def generate_until_done() -> None:
            while not done.is_set():
                # A client of its own each time: a connection stays with its Gateway.
                with Client(address, channel_options=[("grpc.use_local_subchannel_pool", 1)]) as c:
                    generation = c.generate_image("a lake", num_inference_steps=20, image_count=2)
                bill = generation.summary.bill
                gateways.add(bill.gateway_replica)
                denoisers.update(image.denoiser_replica for image in bill.images)

        clients = [threading.Thread(target=generate_until_done) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            eventually(lambda: len(gateways) == 2 and len(denoisers) == 2, 120)
        finally:
            done.set()
            for client in clients:
                client.join()

        # The drain runs out: what is left is told so, and when to come again.
        images: Any = pb_grpc.ImageGenerationServiceStub(grpc.insecure_channel(address))
        call = images.GenerateImage(request(num_inference_steps=100, image_count=8))
        next(event for event in call if event.HasField("denoise_progress"))
        server.interrupt()
        with pytest.raises(grpc.RpcError) as raised:
            list(call)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details_of(raised.value)[ErrorInfo].reason == "DRAINING"
        assert RetryInfo in details_of(raised.value)
        assert server.process.wait(60) == 0
        eventually(lambda: not server.descendants())
