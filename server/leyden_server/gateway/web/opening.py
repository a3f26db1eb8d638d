"""Puts the HTTP door of a Gateway together: who answers what."""

from pathlib import Path

from leyden_server.config import GatewayConfig
from leyden_server.gateway.door import Door
from leyden_server.gateway.leyden_v1 import over_connect
from leyden_server.gateway.leyden_v1.image_generation import ImageGeneration
from leyden_server.gateway.leyden_v1.model_service import ModelService
from leyden_server.gateway.openai.answers import PREFIX, OpenAiApi
from leyden_server.gateway.web.application import Answers, WebApplication
from leyden_server.gateway.web.door import WebDoor
from leyden_server.gateway.web.guard import Guard
from leyden_server.gateway.web.page_files import PageFiles
from leyden_server.gateway.web.tokenizer import PATH as TOKENIZER
from leyden_server.gateway.web.tokenizer import Tokenizers
from leyden_server.generations.model_control import ModelControl
from leyden_server.generations.registry import Generations

__all__ = ["web_door"]


def web_door(
    config: GatewayConfig,
    door: Door,
    generations: Generations,
    control: ModelControl,
    *,
    images: ImageGeneration,
    models: ModelService,
    stop_grace_s: float,
    folder: Path | None,
) -> WebDoor:
    """Return the door that the settings name, which must have a port; it is not open yet.

    Raises:
        ConfigError: OpenSSL does not take a file of TLS.

    """
    assert config.web_port is not None
    tokenizers = Tokenizers(generations.catalog, door.access)
    others: dict[str, Answers] = {TOKENIZER: tokenizers.answer}
    if config.openai:
        others[PREFIX] = OpenAiApi(generations, control, door.access, config).answer
    application = WebApplication(
        Guard(config.web_host, config.web_hosts),
        PageFiles(),
        over_connect.applications(images, models, door.access, config.max_request_bytes),
        others,
        write_timeout_s=config.write_timeout_s,
        known=generations.known,
    )
    return WebDoor(
        application,
        config.web_host,
        config.web_port,
        tls=door.https(),
        stop_grace_s=stop_grace_s,
        folder=folder,
    )
