"""The TextEncoder deployment: batches prompts across requests and caches them."""

from collections import OrderedDict

from ray import serve

from leyden_server.config import TextEncoderConfig
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import EncodedPrompt, StageInfo
from leyden_server.stages.replica import replica_name

__all__ = ["TextEncoder"]


@serve.deployment(name="TextEncoder")
class TextEncoder:
    """Encodes prompts for every model with one base."""

    def __init__(self, model: ResolvedModel, config: TextEncoderConfig) -> None:
        from leyden_server.accelerator.device import device_and_dtype, torch_threads
        from leyden_server.accelerator.torch_thread import TorchThread
        from leyden_server.text_encoder.encoder import PromptEncoder

        self._config = config
        device, dtype = device_and_dtype(config)
        self._thread = TorchThread("text-encoder", torch_threads(config))
        self._encoder = self._thread.run(
            PromptEncoder,
            model,
            dtype=dtype,
            device=device,
            replica=replica_name(),
            execution=config.encoder_execution,
        )
        self._thread.run(self._encoder.warm_up, config.max_batch_prompts)
        self._cache: OrderedDict[str, EncodedPrompt] = OrderedDict()
        self._cache_prompts = config.cache_prompts
        self._encode_batch.set_max_batch_size(config.max_batch_prompts)

    async def check_health(self) -> None:
        """Tell Serve whether the model still answers."""
        self._thread.check_health(self._config.stall_timeout_s)

    async def ready(self) -> StageInfo:
        """Answer once the encoders are loaded and warmed up."""
        return StageInfo(replica_name())

    async def encode(self, prompt: str) -> EncodedPrompt:
        """Encode one prompt."""
        cached = self._cache.get(prompt)
        if cached is not None:
            self._cache.move_to_end(prompt)
            return cached
        encoded: EncodedPrompt = await self._encode_batch(prompt)
        self._cache[prompt] = encoded
        if len(self._cache) > self._cache_prompts:
            self._cache.popitem(last=False)
        return encoded

    # A wait of 0: whatever came while the last batch ran makes the next one.
    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.0)
    async def _encode_batch(self, prompts: list[str]) -> list[EncodedPrompt]:
        return await self._thread.arun(self._encoder.encode, prompts)
