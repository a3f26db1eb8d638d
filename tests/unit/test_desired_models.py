"""Which models are to run, and when a version's stages are needed no more."""

from leyden_server.controller.desired_models import GONE_AFTER_S, DesiredModels, Snapshot
from leyden_server.controller.names import Names
from leyden_server.controller.placement import Placement, place
from leyden_server.model_repository import ResolvedModel
from leyden_server.model_repository.file_marks import FileMarks

NOTHING: frozenset[int] = frozenset()


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def placed(model: ResolvedModel, number: int, unet: str = "unet") -> Placement:
    return place(model, FileMarks("text", unet, "vae"), Names("x"), [], number=number)


def using(*placements: Placement) -> frozenset[int]:
    return frozenset(placement.number for placement in placements)


def test_a_new_version_takes_over_and_the_old_one_stays_while_it_is_used(
    lightning: ResolvedModel,
) -> None:
    old = placed(lightning, 1)
    models = DesiredModels(Snapshot(1, (old,)))
    assert models.next_number() == 2
    models.hear("a", 1, using(old))
    models.hear("b", 1, using(old))
    new = placed(lightning, 2, "changed")
    models.begin(new)
    assert models.snapshot.placement(lightning.name) == old
    assert models.snapshot.placements == (old, new)
    models.serve(new)
    version = models.snapshot.version
    assert models.snapshot.placement(lightning.name) == new
    assert not models.has_been_taken_over(version)
    models.hear("a", version, using(new))
    # The other may not even have heard of it.
    assert not models.has_been_taken_over(version)
    assert models.forget_unused() == ()
    models.hear("b", version, using(old, new))
    assert models.has_been_taken_over(version)
    assert models.forget_unused() == ()
    models.hear("b", version, using(new))
    assert models.forget_unused() == (old,)
    assert list(models.snapshot.placements) == [new]
    assert models.snapshot.version > version


def test_a_gateway_that_is_silent_or_leaves_needs_nothing(lightning: ResolvedModel) -> None:
    clock = Clock()
    old = placed(lightning, 1)
    models = DesiredModels(Snapshot(1, (old,)), clock)
    for gateway in ("a", "b", "c"):
        models.hear(gateway, 1, using(old))
    models.withdraw(lightning.name)
    assert set(models.snapshot.going) == {lightning.name}
    version = models.snapshot.version
    models.leave("c")
    clock.now_s = GONE_AFTER_S - 1
    models.hear("a", version, NOTHING)
    assert models.forget_unused() == ()
    clock.now_s = GONE_AFTER_S
    assert models.forget_unused() == (old,)
    models.note_gone(lightning.name)
    assert not models.snapshot.going
    assert not models.snapshot.placements


def test_a_failure_is_told_until_the_next_load(lightning: ResolvedModel) -> None:
    models = DesiredModels(Snapshot(1, ()))
    first = placed(lightning, models.next_number())
    models.begin(first)
    models.fail(first, "holds NaN")
    assert list(models.snapshot.failures) == [(lightning.name, "holds NaN")]
    assert models.snapshot.placements == ()
    models.begin(placed(lightning, models.next_number()))
    assert not models.snapshot.failures


def test_what_was_retired_before_a_restart_is_used_until_somebody_says_otherwise(
    lightning: ResolvedModel,
) -> None:
    old = placed(lightning, 7)
    models = DesiredModels(Snapshot(12, (), retired=(old,)))
    assert models.next_number() == 8
    models.hear("a", 11, NOTHING)  # it does not know yet that it was retired
    assert models.forget_unused() == ()
    models.hear("a", 12, using(old))
    assert models.forget_unused() == ()
    models.hear("a", 12, NOTHING)
    assert models.forget_unused() == (old,)
