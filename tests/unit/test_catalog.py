"""Which models a Gateway knows, and what it says of those that it cannot serve."""

import pytest
from support.house import StubDenoiser, StubTextEncoder, StubVae

from leyden.v1 import model_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.errors import ModelNotFoundError, ModelNotLoadedError, UnavailableError
from leyden_server.gateway.leyden_v1.encoding import model_message
from leyden_server.gateway.status import to_wire
from leyden_server.generations.catalog import CatalogEntry, ModelCatalog
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import ModelStages
from leyden_server.stages.over_ray import StageApplications, StagesOverRay

SERVED = "leyden-tiny-lightning-4step"


@pytest.fixture
def stages() -> ModelStages:
    return ModelStages(StubTextEncoder(), StubDenoiser(), StubVae())


@pytest.fixture
def catalog(lightning: ResolvedModel, base: ResolvedModel, stages: ModelStages) -> ModelCatalog:
    entries = (
        CatalogEntry("absent", "", "MIT", None, False, "its weights are missing"),
        CatalogEntry(lightning.name, "fast", "MIT", lightning, True, ""),
        CatalogEntry(base.name, "slow", "MIT", base, False, "start with --model"),
    )
    return ModelCatalog(entries, GatewayConfig(), lambda _: stages, share=8)


def message(catalog: ModelCatalog, name: str) -> pb.Model:
    return model_message(catalog.view(name), 3)


@pytest.mark.parametrize("name", ["", SERVED])
async def test_a_model_can_be_had_once_it_is_loaded(catalog: ModelCatalog, name: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        catalog.get(name)
    assert caught.value.reason == "MODEL_LOADING"
    assert message(catalog, name).state == pb.MODEL_STATE_LOADING
    assert not catalog.is_ready
    await catalog.load()
    assert catalog.get(name).model.name == SERVED
    assert catalog.is_ready


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
    for look_up in (catalog.get, catalog.view):
        with pytest.raises(ModelNotFoundError) as caught:
            look_up("sdlx")
        assert caught.value.models == ("absent", "leyden-tiny-base", SERVED)


@pytest.mark.parametrize("letter", ["x", "🎨"])
def test_a_long_name_does_not_overflow_the_metadata(catalog: ModelCatalog, letter: str) -> None:
    """gRPC clients refuse metadata over 8 KiB, and then see another error than ours."""
    with pytest.raises(ModelNotFoundError) as caught:
        catalog.get(letter * 100_000)
    wire = to_wire(caught.value)
    ((key, data),) = wire.trailing_metadata()
    assert isinstance(data, bytes)
    percent_encoded = 3 * len(wire.message.encode())

    assert len(key) + len(data) * 4 // 3 + percent_encoded < 8192


async def test_models_are_described_with_their_limits(catalog: ModelCatalog) -> None:
    await catalog.load()
    absent, slow, fast = (model_message(view, 3) for view in catalog.view_all())

    assert [model.name for model in (absent, slow, fast)] == ["absent", "leyden-tiny-base", SERVED]
    assert [model.state for model in (absent, slow, fast)] == [
        pb.MODEL_STATE_UNAVAILABLE,
        pb.MODEL_STATE_UNAVAILABLE,
        pb.MODEL_STATE_READY,
    ]
    assert [model.is_default for model in (absent, slow, fast)] == [False, False, True]
    assert [model.files_present for model in (absent, slow, fast)] == [False, True, True]
    assert absent.unavailable_reason == "its weights are missing"
    assert absent.max_size_px == 0
    assert (fast.min_num_inference_steps, fast.max_num_inference_steps) == (4, 4)
    assert (fast.min_size_px, fast.max_size_px, fast.size_multiple_px) == (64, 512, 8)
    assert (fast.max_guidance_scale, fast.max_image_count) == (2, 3)
    assert fast.revision == "sha256:0"
    assert fast.previews
    assert "lake" in fast.known_words
    assert list(fast.known_words) == sorted(fast.known_words)
    assert len(slow.solvers) == 4
    assert len(fast.output_formats) == 3


async def test_a_model_without_a_stage_is_unavailable_until_it_is_back(
    catalog: ModelCatalog, stages: ModelStages
) -> None:
    await catalog.load()
    vae = stages.vae
    assert isinstance(vae, StubVae)
    vae.problem = "vae has had no running replica for 60 s"
    with pytest.raises(UnavailableError, match="vae has had no running replica") as caught:
        catalog.get(SERVED)
    assert caught.value.reason == "STAGE_GONE"
    described = message(catalog, SERVED)
    assert described.state == pb.MODEL_STATE_LOADING
    assert "no running replica" in described.unavailable_reason
    assert not catalog.is_ready
    vae.problem = ""
    assert catalog.get(SERVED)
    assert catalog.is_ready


def test_models_of_one_base_share_what_is_known_of_its_stages() -> None:
    """An answer to one of them tells the other that the stage lives."""
    over_ray = StagesOverRay(GatewayConfig())
    one, other = (over_ray.of(StageApplications("text", name, "vae")) for name in ("a", "b"))

    assert one.text_encoder is other.text_encoder
    assert one.vae is other.vae
    assert one.denoiser is not other.denoiser
