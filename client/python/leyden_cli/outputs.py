"""Where pictures go, and what is said of them at the end."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leyden_cli.printable import printable
from leyden_cli.progress import ProgressDisplay
from leyden_client._collector import GenerationCollector
from leyden_client._files import check_writable
from leyden_client.events import DenoiseProgress, Event, Generation, Image, Summary

STDOUT: Final = Path("-")
"""The FILE that means stdout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Where images and previews are written."""

    output: Path | None
    """File of the image, `STDOUT`, or None: images are not written."""
    numbers_from: int
    """Images of this index and later have it in the names of their files."""
    image_count: int = 1
    """How many images there will be, as far as that is known."""
    previews: Path | None = None
    """Folder of the previews. None: they are not written."""

    def of_image(self, image_index: int) -> Path | None:
        """Return the file of an image; None: it is not written. Stdout takes one image."""
        if self.output == STDOUT:
            return STDOUT if image_index == 0 else None
        if self.output is None or image_index < self.numbers_from:
            return self.output
        return self.output.with_stem(f"{self.output.stem}-{image_index}")

    def check(self) -> None:
        """Raise the `OSError` that writing would raise, before anything is generated."""
        for image_index in {0, self.image_count - 1}:  # they share a directory
            path = self.of_image(image_index)
            if path is not None and path != STDOUT:
                check_writable(path)
        if self.previews is not None:
            self.previews.mkdir(parents=True, exist_ok=True)
            check_writable(self.previews / "image-0-step-1.png")

    def save(self, event: Event) -> str | None:
        """Write the picture that `event` brings, if any, and return where it is."""
        match event:
            case Image():
                return self._save_image(event)
            case DenoiseProgress() if event.preview and self.previews:
                path = self.previews / f"image-{event.image_index}-step-{event.step}.png"
                event.preview.save(path)
                return str(path)
            case _:
                return None

    def _save_image(self, image: Image) -> str | None:
        path = self.of_image(image.image_index)
        if path is None:
            return None
        if path == STDOUT:
            sys.stdout.buffer.write(image.data)
            sys.stdout.buffer.flush()
            return "stdout"
        image.save(path)
        return str(path)


def show_all(events: Iterable[Event], progress: ProgressDisplay, outputs: Outputs) -> Generation:
    """Show events as they come and write their pictures; return the whole at their end."""
    collector = GenerationCollector()
    for event in events:
        # At once: what is done stays, whatever becomes of the rest.
        progress.show(event, outputs.save(event))
        collector.add(event)
    return collector.generation()


def print_outcome(generation: Generation, outputs: Outputs) -> None:
    """Say which images there are now, and what they cost."""
    # An image on stdout has that for itself.
    stream = sys.stderr if outputs.output == STDOUT else sys.stdout
    for image in generation.images:
        path = outputs.of_image(image.image_index)
        name = "stdout" if path == STDOUT else path or f"image {image.image_index}"
        print(
            f"{name}  seed {image.seed}  {image.width_px} x {image.height_px} px  "
            f"{image.size_bytes / 1000:.1f} kB",
            file=stream,
        )
    print(_cost(generation.summary), file=stream)


def warn(message: str) -> None:
    """Print a warning."""
    # Parts of it may come out of a file.
    print(f"warning: {printable(message)}", file=sys.stderr)


def _cost(summary: Summary) -> str:
    bill = summary.bill
    # Images are made side by side: their sums would be longer than the whole took.
    denoise_s = max(sum(step.duration_s for step in image.steps) for image in bill.images)
    decode_s = max(image.vae_decode_s + image.image_encode_s for image in bill.images)
    return (
        f"{summary.model} took {bill.total_s:.2f} s "
        f"(queue {bill.queue_s:.2f}, text {bill.text_encode_s:.2f}, "
        f"denoise {denoise_s:.2f}, decode and encode {decode_s:.2f}"
        f"{' for the slowest image' if len(bill.images) > 1 else ''})"
    )
