"""The first stage as a service: batches prompts across requests and keeps what it encoded."""

import time
from collections import OrderedDict
from dataclasses import replace

from leyden_server.accelerator.cores import Cores, CoreShare
from leyden_server.accelerator.device import device_and_dtype, torch_threads
from leyden_server.accelerator.device_memory import MemoryReading
from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.config import TextEncoderConfig
from leyden_server.model_repository import ResolvedModel
from leyden_server.private_text import keep_private
from leyden_server.service_order import DEFAULT_PRIORITY, ServiceOrder
from leyden_server.stages.batching import Batcher
from leyden_server.stages.contract import EncodedPrompt, ReplicaState, StageInfo, StageRun
from leyden_server.stages.failures import telling_failures
from leyden_server.text_encoder.encoder import PromptEncoder

__all__ = ["TextEncodingService"]


class TextEncodingService:
    """Encodes prompts for every model with one base.

    Its methods are for one event loop; making it blocks until the encoders are warmed up.
    """

    def __init__(
        self,
        model: ResolvedModel,
        config: TextEncoderConfig,
        replica: str,
        cores: Cores | None = None,
    ) -> None:
        """Load and warm up; raises as `PromptEncoder` and its `warm_up` do.

        `cores` are shared with the process's other stages; None: it has none.
        """
        self._config = config
        self._replica = replica
        device, dtype = device_and_dtype(config.dtype)
        self._memory = MemoryReading(device)
        self._thread = TorchThread("text-encoder", torch_threads(config) if cores is None else 1)
        self._encoder = self._thread.run(
            PromptEncoder,
            model,
            dtype=dtype,
            device=device,
            replica=replica,
            execution=config.encoder_execution,
        )
        self._thread.run(self._encoder.warm_up, config.max_batch_prompts)
        self._cores = CoreShare(cores)
        self._cores.measure(self._encoder.time_prompt)
        self._cache: OrderedDict[str, EncodedPrompt] = OrderedDict()
        self._batcher: Batcher[str, EncodedPrompt] = Batcher(
            self._encode, lambda _: config.max_batch_prompts
        )

    async def ready(self) -> StageInfo:
        """Describe the replica."""
        return StageInfo(self._replica)

    async def encode(self, prompt: str) -> EncodedPrompt:
        """Encode one prompt.

        Raises:
            OutOfMemoryError: not even the prompt alone has room.
            StageFailedError: the encoders failed on the prompt alone.

        """
        cached = self._cache.get(prompt)
        if cached is not None:
            self._cache.move_to_end(prompt)
            return cached
        keep_private(prompt)
        with telling_failures("text encoder"):
            # All alike, by arrival: a prompt takes less time than any order among them saves.
            order = ServiceOrder(DEFAULT_PRIORITY, time.monotonic())
            encoded = await self._batcher(prompt, order)
        self._cache[prompt] = replace(encoded, run=None, memory=None)
        if len(self._cache) > self._config.cache_prompts:
            self._cache.popitem(last=False)
        return encoded

    async def state(self) -> ReplicaState:
        """Return what the replica does now."""
        waiting = self._batcher.waiting
        return ReplicaState(
            self._replica, self._thread.busy.share(), self._batcher.running, waiting
        )

    def check_health(self) -> None:
        """Raise RuntimeError where the encoders can no longer be relied on."""
        self._thread.check_health(self._config.stall_timeout_s)

    def stop(self) -> None:
        """End the thread once what it does is done."""
        self._thread.stop()

    async def _encode(self, prompts: list[str]) -> list[EncodedPrompt]:
        started_s, begun_s = time.time(), time.perf_counter()
        encoded = await self._thread.arun(
            self._cores.run, len(prompts), self._encoder.encode, prompts
        )
        run = StageRun(started_s, time.perf_counter() - begun_s, len(prompts))
        memory = self._memory()
        return [replace(prompt, run=run, memory=memory) for prompt in encoded]
