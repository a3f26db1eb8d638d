"""Makes the pictures and compares them, in processes of one thread each."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from benchmarks.fp8_gate.choice import Measured, Products
from benchmarks.fp8_gate.measures import Comparison
from benchmarks.fp8_gate.subjects import Painter, Subject
from leyden_server.denoiser.float8_products import PRODUCTS
from leyden_training.evaluation.classifier import load_classifier
from leyden_training.evaluation.prompts import held_out_prompts

__all__ = ["Measuring"]

NATIVE_PX = 256


class Measuring:
    """Measures in worker processes; each makes what it compares with by itself."""

    def __init__(self, folder: Path, workers: int) -> None:
        """`folder`: of leyden-train, with a data set and a classifier."""
        self._folder, self._workers = folder, workers
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,))
        self._asked: dict[tuple[Subject, Products], Future[Measured]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self, subjects: Sequence[Subject]) -> None:
        """Have several workers measure each product alone, also what nobody may ask for then."""
        if self._workers > 1:
            for subject in subjects:
                for product in PRODUCTS:
                    self._ask(subject, frozenset([product]))

    def begin_with(self, subjects: Sequence[Subject], products: Products) -> None:
        """Have a worker that is free measure the first of the subjects, which may be asked next."""
        if self._workers > 1 and products:
            self._ask(subjects[0], products)

    def measured(self, subjects: Sequence[Subject], products: Products) -> Iterator[Measured]:
        """Measure pictures with `products` in 8-bit floats, one subject after another."""
        for subject in subjects:
            yield self._ask(subject, products).result()

    def baselines(self, subjects: Sequence[Subject]) -> dict[str, dict[str, object]]:
        """Return what bfloat16 does to the pictures of each subject, by its name."""
        return {
            subject.name: self._pool.submit(_baseline, self._folder, subject).result()
            for subject in subjects
        }

    def _ask(self, subject: Subject, products: Products) -> "Future[Measured]":
        key = (subject, products)
        if key not in self._asked:
            self._asked[key] = self._pool.submit(_measured, self._folder, subject, products)
        return self._asked[key]


class _Asked:
    """One subject, with its pictures in float32 and bfloat16."""

    def __init__(self, folder: Path, subject: Subject) -> None:
        prompts = held_out_prompts(subject.pictures, NATIVE_PX, folder / "data")
        self._name = subject.name
        self._painter = Painter(subject, [prompt.text for prompt in prompts])
        self.comparison = Comparison(
            subject.name,
            prompts,
            load_classifier(folder / "classifier"),
            float32=self.paint("float32", torch.float32, frozenset()),
            bfloat16=self.paint("bfloat16", torch.bfloat16, frozenset()),
        )

    def paint(self, label: str, dtype: torch.dtype, products: Products) -> torch.Tensor:
        """Make its pictures, and say how far that is."""

        def progress(done: int) -> None:
            if done % 8 == 0:
                print(f"{self._name}: {label}: {done} pictures", file=sys.stderr, flush=True)

        return self._painter.paint(dtype, products, progress)


@cache
def _asked(folder: Path, subject: Subject) -> _Asked:
    return _Asked(folder, subject)


def _baseline(folder: Path, subject: Subject) -> dict[str, Any]:
    return _asked(folder, subject).comparison.of_bfloat16()


def _measured(folder: Path, subject: Subject, products: Products) -> Measured:
    asked, label = _asked(folder, subject), " + ".join(sorted(products))
    found = asked.comparison.measured(asked.paint(label, torch.bfloat16, products))
    print(
        f"{subject.name}: {label}: {found.psnr_loss_db.estimate:+.2f} dB lost; Fréchet ratio up to "
        f"{found.frechet_ratio.high:.4f}; told apart {found.told_apart.estimate:.3f}"
        + (f"; MISSES {', '.join(found.misses)}" if found.misses else ""),
        file=sys.stderr,
        flush=True,
    )
    return found
