"""One line of progress for a training run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from leyden_training.workers import Workers

__all__ = ["training_progress"]

Report = Callable[[int, Mapping[str, float]], None]


@contextmanager
def training_progress(title: str, total: int, done: int, workers: Workers) -> Iterator[Report]:
    """Show a bar on the first worker's terminal; else a line every hundred iterations.

    Yields:
        A function that takes the number of finished iterations and their latest figures.

    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, disable=not workers.first) as bar:
        task = bar.add_task(title, total=total, completed=done, figures="")
        smooth: dict[str, float] = {}

        def report(iteration: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                smooth[name] = value + 0.95 * (smooth.get(name, value) - value)
            figures = "  ".join(f"{name} {value:.4g}" for name, value in smooth.items())
            bar.update(task, completed=iteration, figures=figures)
            if workers.first and not bar.console.is_terminal and iteration % 100 == 0:
                bar.console.print(f"{title} {iteration}/{total}  {figures}")

        yield report
