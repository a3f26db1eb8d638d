"""Which models a Gateway knows, and what it says of those that it cannot serve."""

import pytest

from leyden.v1 import model_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.errors import ModelNotFoundError, ModelNotLoadedError, UnavailableError
from leyden_server.gateway.status import to_wire
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog, StageApplications
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import DenoiserInfo

APPLICATIONS = StageApplications("text", "denoise", "decode")


@pytest.fixture
def catalog(lightning: ResolvedModel, base: ResolvedModel) -> ModelCatalog:
    entries = (
        CatalogEntry("absent", "", "MIT", None, None, "its weights are missing"),
        CatalogEntry(lightning.name, "fast", "MIT", lightning, APPLICATIONS, ""),
        CatalogEntry(base.name, "slow", "MIT", base, None, "start with --model"),
    )
    return ModelCatalog(entries, GatewayConfig(max_image_count=3))


def loaded(catalog: ModelCatalog, name: str) -> None:
    catalog._served[name].info = DenoiserInfo("denoise#1", "sha256:0", {256: 8})


@pytest.mark.parametrize("name", ["", "leyden-tiny-lightning-4step"])
def test_a_model_can_be_had_once_it_is_loaded(catalog: ModelCatalog, name: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        catalog.get(name)
    assert caught.value.reason == "MODEL_LOADING"
    loaded(catalog, "leyden-tiny-lightning-4step")
    assert catalog.get(name).model.name == "leyden-tiny-lightning-4step"


@pytest.mark.parametrize(
    ("name", "missing"),
    [("absent", "its weights are missing"), ("leyden-tiny-base", "start with --model")],
)
def test_a_model_that_is_not_loaded_says_what_is_missing(
    catalog: ModelCatalog, name: str, missing: str
) -> None:
    with pytest.raises(ModelNotLoadedError, match=missing):
        catalog.get(name)


def test_an_unknown_model_names_those_that_exist(catalog: ModelCatalog) -> None:
    for look_up in (catalog.get, catalog.describe):
        with pytest.raises(ModelNotFoundError) as caught:
            look_up("sdlx")
        assert caught.value.models == ("absent", "leyden-tiny-base", "leyden-tiny-lightning-4step")


@pytest.mark.parametrize("letter", ["x", "🎨"])
def test_a_long_name_does_not_overflow_the_metadata(catalog: ModelCatalog, letter: str) -> None:
    """gRPC clients refuse metadata over 8 KiB, and then see another error than ours."""
    with pytest.raises(ModelNotFoundError) as caught:
        catalog.get(letter * 100_000)
    wire = to_wire(caught.value)
    ((key, data),) = wire.trailing_metadata()
    percent_encoded = 3 * len(wire.message.encode())

    assert len(key) + len(data) * 4 // 3 + percent_encoded < 8192


def test_models_are_described_with_their_limits(catalog: ModelCatalog) -> None:
    loaded(catalog, "leyden-tiny-lightning-4step")
    absent, slow, fast = catalog.describe_all()

    assert [model.name for model in (absent, slow, fast)] == sorted(catalog._entries)
    assert [model.state for model in (absent, slow, fast)] == [
        pb.MODEL_STATE_UNAVAILABLE,
        pb.MODEL_STATE_UNAVAILABLE,
        pb.MODEL_STATE_READY,
    ]
    assert [model.is_default for model in (absent, slow, fast)] == [False, False, True]
    assert absent.unavailable_reason == "its weights are missing"
    assert absent.max_size_px == 0
    assert (fast.min_num_inference_steps, fast.max_num_inference_steps) == (4, 4)
    assert (fast.min_size_px, fast.max_size_px, fast.size_multiple_px) == (64, 512, 8)
    assert (fast.max_guidance_scale, fast.max_image_count) == (2, 3)
    assert fast.revision == "sha256:0"
    assert fast.previews
    assert len(slow.solvers) == 2
    assert len(fast.output_formats) == 3


def test_a_model_is_loading_until_its_stages_answered(catalog: ModelCatalog) -> None:
    assert catalog.describe("leyden-tiny-lightning-4step").state == pb.MODEL_STATE_LOADING


def test_models_of_one_base_share_what_is_known_of_its_stages(
    lightning: ResolvedModel, base: ResolvedModel
) -> None:
    """An answer to one of them tells the other that the stage lives."""
    entries = tuple(
        CatalogEntry(
            model.name, "", "MIT", model, StageApplications("text", model.name, "decode"), ""
        )
        for model in (lightning, base)
    )
    catalog = ModelCatalog(entries, GatewayConfig())
    for entry in entries:
        loaded(catalog, entry.name)
    one, other = (catalog.get(entry.name) for entry in entries)

    assert one.text_encoder is other.text_encoder
    assert one.vae is other.vae
    assert one.denoiser is not other.denoiser
