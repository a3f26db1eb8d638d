"""Every setting of the server, its meaning and its default, written once.

`leyden serve --config FILE` reads a YAML file of this shape; `leyden config`
prints it with all defaults and these texts as comments.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from leyden_server.address import reaches_beyond
from leyden_server.door_config import DoorConfig
from leyden_server.errors import ConfigError
from leyden_server.strict_model import StrictModel

__all__ = [
    "DenoiserConfig",
    "GatewayConfig",
    "RayConfig",
    "ServerConfig",
    "StageConfig",
    "TextEncoderConfig",
    "VaeConfig",
]

DEFAULT_MODEL = "leyden-tiny-lightning-4step"

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
UNetDtype = Literal["auto", "float32", "bfloat16", "float16", "fp8"]
UNetExecution = Literal["auto", "eager", "traced", "cuda_graphs", "compile", "compile_cuda_graphs"]
VaeExecution = Literal["eager", "compile"]
EncoderExecution = Literal["auto", "eager", "cuda_graphs"]


def _metrics_port(value: object) -> object:
    is_port = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535
    if not is_port and value not in {"auto", None}:
        raise ValueError("auto, null, or from 0 to 65535")
    return value


MetricsPort = Annotated[int | Literal["auto"] | None, BeforeValidator(_metrics_port)]


def _custom_resources(resources: Mapping[str, float]) -> Mapping[str, float]:
    for name, amount in resources.items():
        if not name or name in RAYS_OWN:
            raise ValueError(f"a custom resource's name, not {name!r}, which is Ray's own")
        if not 0 < amount < math.inf or (amount > 1 and amount != int(amount)):
            raise ValueError(f"{name}: above 0, and above 1 a whole number")
    return resources


RAYS_OWN = ("", "CPU", "GPU", "memory", "object_store_memory")

CustomResources = Annotated[Mapping[str, float], AfterValidator(_custom_resources)]
"""Ray's own rule: an actor takes a part of one, or several."""

HostName = Annotated[str, Field(pattern=r"^[^\s/:@]+$|^\[[0-9A-Fa-f:.]+\]$")]

DEFAULT_METRICS_PORT = 8002
DEFAULT_WEB_PORT = 8080


class GatewayConfig(DoorConfig):
    """The gRPC front: validates, admits, drives the stages."""

    host: str = Field(default="127.0.0.1", pattern=r"^[^\s/]+$")
    """Address to listen on. 0.0.0.0 or [::] opens the server to the network, for which it
    needs TLS, or insecure."""

    port: int = Field(default=8001, ge=0, le=65535)
    """TCP port to listen on; 0 picks a free one and prints it."""

    metrics_host: str = Field(default="127.0.0.1", pattern=r"^[^\s/]+$")
    """Address of the page with metrics for Prometheus. Whoever reaches it reads how many
    requests come and how they end, and no user's data: it asks for no key."""

    metrics_port: MetricsPort = "auto"
    """TCP port of the page, http://HOST:PORT/metrics; 0 picks a free one and prints it, null
    turns it off. auto is 8002, and a free one where port is 0. The first Gateway of a machine
    serves it for all of that machine."""

    web_host: str = Field(default="127.0.0.1", pattern=r"^[^\s/]+$")
    """Address of the HTTP door: the page for people, Connect and gRPC-Web for programs, and
    OpenAI's images API. TLS, keys and insecure hold for it too."""

    web_port: int | None = Field(default=None, ge=0, le=65535)
    """TCP port of the HTTP door; 0 picks a free one and prints it, null: there is none. One
    Gateway of a machine serves it."""

    web_hosts: tuple[HostName, ...] = ()
    """Further names that the HTTP door is reached by, such as a proxy's, without their ports. A
    request whose Host is none of these, nor the address itself, is answered with 403."""

    openai: bool = False
    """Whether the HTTP door has OpenAI's images API: /v1/images/generations and /v1/models."""

    replicas: int = Field(default=1, ge=1, le=64)
    """Gateway processes on the address (SO_REUSEPORT shares the connections out). Each has a line
    of its own, and hands on calls about a generation that another one has."""

    num_cpus: float = Field(default=0.1, ge=0)
    """CPUs that Ray counts for a replica: accounting, not a limit."""

    resources: CustomResources = Field(default_factory=dict)
    """Custom resources that a replica takes, `name: amount`, which Ray places it by: give them
    to some nodes alone (`ray start --resources`, KubeRay's `rayStartParams.resources`)."""

    max_replicas_per_node: int | None = Field(default=None, ge=1, le=100)
    """Most replicas on one node. 1 where each node's address is to have a Gateway of its own,
    as a pod's; not set: Ray places as many as fit."""

    max_waiting_images: int = Field(default=64, ge=1)
    """Images of one model that may wait for the denoiser at one Gateway replica;
    beyond it requests are refused with RESOURCE_EXHAUSTED and an expected wait."""

    max_open_images: int = Field(default=512, ge=1)
    """Images of one model that a Gateway replica has accepted and not yet sent, wherever
    they are; what slow readers and a slow decoder can hold. Refused as above."""

    max_image_count: int = Field(default=8, ge=1, le=64)
    """Most images of one request."""

    max_prompt_chars: int = Field(default=4096, ge=1, le=8000)
    """Longest prompt and negative prompt in characters. Both must fit into the 64 KiB of
    a JPEG's Exif data, at up to 4 bytes a character."""

    max_linger_duration_s: float = Field(default=600.0, ge=0)
    """Longest linger_duration of a request in seconds: how long a generation may go on when
    nobody watches it, and how long its events may be kept after its end."""

    max_kept_bytes: int = Field(default=256 * 2**20, ge=2**20)
    """Payload (images) of generations that have ended and are kept, at one Gateway replica;
    beyond it the oldest are dropped."""

    max_unsent_bytes: int = Field(default=256 * 2**20, ge=2**20)
    """Payload (images) that the readers of one Gateway replica have not read yet; beyond it
    the reader with the most is cut off."""

    max_stream_requests: int = Field(default=64, ge=1, le=4096)
    """Requests in flight on one stream of the KServe v2 protocol; beyond it a request is
    refused with RESOURCE_EXHAUSTED, and the others go on."""

    write_timeout_s: float = Field(default=30.0, gt=0)
    """A reader that takes nothing for this many seconds, though something is there for it,
    is cut off."""

    queued_interval_s: float = Field(default=10.0, gt=0)
    """Longest silence of a stream whose generation waits, in seconds: proxies cut idle
    streams. A `queued` event ends it."""

    max_connection_age_s: float = Field(default=3600.0, ge=0)
    """After how many seconds a client's connection is asked to be made anew, so that load
    spreads over the Gateways; its calls in flight live on. 0: never."""

    shared_memory: bool = False
    """Whether clients on this machine, over loopback, may hand tensors over in system shared
    memory, as Triton's clients do (docs/triton.md). They reach every segment of the server's user
    that is not Ray's or Leyden's. With one Gateway alone: a region is known where it was
    registered."""

    drain_timeout_s: float = Field(default=15.0, ge=0)
    """On shutdown, how many seconds running generations get to finish. The whole stop takes
    10 s more at most, so that Kubernetes' grace of 30 s holds."""

    drain_notice_s: float = Field(default=0.0, ge=0, le=60)
    """On shutdown, for how many seconds health says NOT_SERVING while new requests are still
    taken: as long as those who balance take to notice, so that nothing is sent here when it is
    refused. 0: it is refused at once. The drain comes after it."""

    stage_retries: int = Field(default=1, ge=0, le=10)
    """How often a stage is run again, with the same seed, after its replica died."""

    stage_stall_timeout_s: float = Field(default=60.0, gt=0)
    """A stage that owes answers and gives none at all for this many seconds is
    UNAVAILABLE to those who wait. Longer than the slowest of a prompt, a denoise step and
    the decoding of a whole image. Time in which the stage has no replica running is not
    counted."""

    stage_gone_after_s: float = Field(default=60.0, gt=0)
    """A stage that has had no running replica for this many seconds and is not at rest is
    gone: its model's health is NOT_SERVING, and new requests are UNAVAILABLE."""

    stage_start_timeout_s: float = Field(default=600.0, gt=0)
    """A stage without a running replica, at rest or after a death, gets this many seconds
    to start one; then it is UNAVAILABLE to those who wait."""

    request_log_max_bytes: int = Field(default=32 * 2**20, ge=4096)
    """Size in bytes at which the request log is moved aside and begun anew."""

    request_log_backups: int = Field(default=3, ge=0, le=1000)
    """How many logs that were moved aside are kept, the newest as `.1`; 0 keeps none."""

    trace_endpoint: str = Field(default="", pattern=r"^(https?://[^\s/@]+(/[^\s@]*)?)?$")
    """Where traces go by OTLP: `http://HOST:4317` by gRPC, `http://HOST:4318/v1/traces` by
    HTTP, https for TLS. It needs the extra `leyden[tracing]`. Empty: nothing is traced, and
    OpenTelemetry is not even imported."""

    trace_sample_ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of the traces begun here that are recorded; a request that comes with a
    `traceparent` is recorded where that says so."""

    @model_validator(mode="after")
    def _regions_have_one_gateway(self) -> Self:
        if self.shared_memory and self.replicas > 1:
            raise ValueError(
                "shared_memory needs replicas: 1, since a region is known to one Gateway alone"
            )
        return self

    @model_validator(mode="after")
    def _plaintext_stays_on_this_machine(self) -> Self:
        hosts = {"host": self.host}
        if self.web_port is not None:
            hosts["web_host"] = self.web_host
        for name, host in hosts.items():
            if self.tls_certificate is None and not self.insecure and reaches_beyond(host):
                raise ValueError(
                    f"{name} {host} is open to the network, in plaintext: set tls_certificate and "
                    "tls_private_key (--tls-certificate, --tls-private-key), or say that it may "
                    "be with insecure: true (--insecure)"
                )
        return self

    @model_validator(mode="after")
    def _openai_has_its_port(self) -> Self:
        if self.openai and self.web_port is None:
            raise ValueError("openai needs web_port (--web), on which it answers")
        return self

    @model_validator(mode="after")
    def _a_whole_request_may_wait(self) -> Self:
        if min(self.max_waiting_images, self.max_open_images) < self.max_image_count:
            raise ValueError(
                "max_waiting_images and max_open_images must be at least max_image_count"
            )
        return self


class StageConfig(StrictModel):
    """What every stage has: resources, replicas, autoscaling."""

    num_cpus: float = Field(default=0.2, ge=0)
    """CPUs that Ray counts for a replica: accounting, not a limit."""

    num_gpus: float | None = Field(default=None, ge=0)
    """GPU share of a replica. Not set: the stage's default share where the cluster has
    a GPU, else 0. Set it where nodes come and go: the cluster is asked once."""

    resources: CustomResources = Field(default_factory=dict)
    """Custom resources that a replica takes, `name: amount`, which Ray places it by: they pin a
    stage to the nodes that have them."""

    min_replicas: int = Field(default=1, ge=0, le=1024)
    """Replicas at rest. 0: the stage starts with one, gives it up when nobody asks, and
    starts it again for the next request, which waits meanwhile."""

    max_replicas: int = Field(default=1, ge=1, le=1024)
    """Replicas under load; above min_replicas the stage scales by its own load."""

    target_ongoing_requests: float = Field(default=4.0, gt=0)
    """Requests in the stage, running and waiting, for each replica that autoscaling aims
    at: of the denoiser and the decoder, images; of the encoder, prompts."""

    upscale_delay_s: float = Field(default=2.0, ge=0)
    """How many seconds load must be high before replicas are added. The first one of a
    stage at rest is started at once."""

    downscale_delay_s: float = Field(default=60.0, ge=0)
    """How many seconds load must be low before replicas are removed."""

    downscale_to_zero_delay_s: float = Field(default=300.0, ge=0)
    """Where min_replicas is 0: after how many seconds without any request the last
    replica is removed."""

    max_ongoing_requests: int = Field(default=32, ge=1)
    """Requests that a replica holds at once; twice its largest batch keeps it busy."""

    torch_threads: int = Field(default=1, ge=0)
    """Threads of a torch operator on a CPU; 0 is one for each core. The stages share the
    cores: more than 1 helps a large model's latency where nothing else wants them. With
    `--in-process` 0 is all of them where the stage works alone, and else one."""

    stall_timeout_s: float = Field(default=300.0, gt=0)
    """A run of the model that takes longer than this many seconds marks the replica as
    unhealthy, and Ray Serve replaces it."""

    shutdown_timeout_s: float = Field(default=120.0, ge=0)
    """When a replica is retired, how many seconds its requests get to finish. What is
    left then is run again elsewhere."""

    @model_validator(mode="after")
    def _replicas_are_a_range(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas must be at least min_replicas")
        return self


class TextEncoderConfig(StageConfig):
    """Tokenizes and runs both CLIP encoders."""

    dtype: Dtype = "auto"
    """Precision of the weights; auto is bfloat16 on a GPU and float32 on a CPU."""

    max_batch_prompts: int = Field(default=16, ge=1, le=256)
    """Most prompts in one run of the encoders."""

    encoder_execution: EncoderExecution = "auto"
    """How the encoders run. cuda_graphs captures them as CUDA graphs, one for each power of
    two of prompts up to max_batch_prompts; on a GPU only, where auto chooses it; on a CPU auto
    is eager."""

    cache_prompts: int = Field(default=256, ge=0)
    """Encoded prompts kept in a replica (0.6 MB each at SDXL's size in float32)."""


class DenoiserConfig(StageConfig):
    """Runs the UNet by step batching."""

    dtype: UNetDtype = "auto"
    """Precision of the weights; auto is bfloat16 on a GPU and float32 on a CPU. fp8 is bfloat16
    with the products that docs/fp8.md names in 8-bit floats, on a GPU that multiplies in FP8
    (NVIDIA's from Ada and Hopper on) alone: faster, most of all several rows, and less exact."""

    max_batch_rows: int = Field(default=8, ge=1, le=256)
    """Most rows in one UNet run; the warm-up lowers it where more rows do not pay.
    A request with guidance has two rows and is never split."""

    measure_batch_rows: bool = True
    """Whether the warm-up measures what rows pay; if not, max_batch_rows is taken."""

    warmup_sizes_px: tuple[tuple[int, int], ...] = ()
    """Further (width, height) pairs at which the warm-up measures what batching rows
    is worth, beside the model's native size."""

    unet_execution: UNetExecution = "auto"
    """How the UNet runs at the sizes of the warm-up; other sizes run eagerly. cuda_graphs
    captures each batch size as a CUDA graph; on a GPU only, where auto chooses it. traced records
    the operators once and runs them without Python, at all sizes that are multiples of 32 px; on
    a CPU only, where auto chooses it. compile is torch.compile: a start takes minutes more, and
    it needs a C++ compiler. compile_cuda_graphs is graphs of that, and the fastest."""


class VaeConfig(StageConfig):
    """Decodes latents with the VAE and encodes the image."""

    dtype: Dtype = "auto"
    """Precision of the weights; auto is bfloat16 on a GPU and float32 on a CPU."""

    max_batch_images: int = Field(default=4, ge=1)
    """Most images of one size in one run of the VAE; the warm-up lowers it where more
    do not pay."""

    vae_execution: VaeExecution = "eager"
    """How the VAE runs at the model's native size; other sizes and tiles run eagerly.
    compile is torch.compile: a start takes a minute more, and it needs a C++ compiler."""

    tile_px: int = Field(default=1024, ge=128)
    """Most pixels of one run of the VAE, as the side of a square; it bounds the memory.
    Larger images are decoded in tiles for at most that many pixels a side, each up to
    128 pixels larger to overlap with the next."""

    encode_threads: int = Field(default=2, ge=1)
    """Threads that encode PNG, JPEG and WebP beside the VAE."""


class RayConfig(StrictModel):
    """The Ray cluster that everything runs in."""

    address: str = Field(default="local", pattern=r"^(local|auto|[^\s/]+:[0-9]{1,5})$")
    """`local` starts a Ray of its own and ends it with the server; `auto` or `host:port`
    joins one that runs on this machine. RAY_ADDRESS is not looked at."""

    instance: str = Field(default="leyden", pattern=r"^[a-z][a-z0-9_]{0,39}$")
    """What the names of everything in Ray begin with: lower-case letters, digits and _. Two
    servers in one Ray need two."""

    num_cpus: int | None = Field(default=None, ge=1)
    """CPUs of a Ray of our own; not set: all of the machine."""

    num_gpus: int | None = Field(default=None, ge=0)
    """GPUs of a Ray of our own; not set: all of the machine."""

    object_store_memory_bytes: int = Field(default=256 * 2**20, ge=80 * 2**20)
    """Shared memory of a Ray of our own; little of it is used."""


class ServerConfig(StrictModel):
    """The whole server."""

    renamed: ClassVar[Mapping[str, str]] = {"image_decoder": "vae"}

    models: tuple[str, ...] = Field(default=(DEFAULT_MODEL,), min_length=1)
    """Models to load, by their names in the repository; the first is the default."""

    model_repository: tuple[Path, ...] = ()
    """Folders with further model entries, beside those that Leyden ships."""

    in_process: bool = False
    """Whether the Gateway and the stages all run in one process, without Ray:
    `min_replicas` of each stage, and at least one, a thread each. For one GPU, small machines and
    tests; what the config says of max_replicas, num_cpus, num_gpus and ray is not looked at
    then."""

    log_format: Literal["json", "text"] = "json"
    """How `leyden serve` shows each request on stderr: json, as the request log's file always
    has it, or text for people."""

    gateway: GatewayConfig = GatewayConfig()
    """The gRPC front."""

    text_encoder: TextEncoderConfig = TextEncoderConfig()
    """Tokenizers and CLIP encoders; models with one base share them."""

    denoiser: DenoiserConfig = DenoiserConfig()
    """The UNet; one deployment a model."""

    vae: VaeConfig = VaeConfig()
    """VAE and image encoding; models with one base share them."""

    ray: RayConfig = RayConfig()
    """The Ray cluster that everything runs in."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a config file.

        Raises:
            ConfigError: the file cannot be read, or a key is unknown or has a wrong value.

        """
        return cls.from_yaml(path, ConfigError)

    def replace(self, **sections: object) -> Self:
        """Return a copy with whole keys replaced or, for a section, some of its keys.

        Raises:
            ConfigError: a key is unknown or has a wrong value.

        """
        data = self.model_dump()
        for key, value in sections.items():
            if isinstance(value, dict) and isinstance(data.get(key), dict):
                data[key] = {**data[key], **value}
            else:
                data[key] = value
        return self.from_mapping(data, "options", ConfigError)
