"""leyden-train: data, VAE, teacher, distillation and evaluation of the embedded models.

Everything goes into one folder (--folder, default runs), stage by stage. Each stage goes on
from where it was: Ctrl-C writes a checkpoint and stops, the same command resumes.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from leyden_training import stages, whole_run
from leyden_training.distillation import command as distillation
from leyden_training.distillation.stage import GUIDANCE_SCALE, PARTS, TEACHER_STEPS
from leyden_training.evaluation.evaluation import EvaluationSettings

__all__ = ["build_parser", "main"]

AddCommand = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]
"""Adds a command by its name, what it runs, and what it says of itself."""


def main() -> int:
    """Run one stage."""
    arguments = build_parser().parse_args()
    run: Callable[[argparse.Namespace], None] = arguments.run
    try:
        run(arguments)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (FileNotFoundError, ValueError) as error:
        print(f"leyden-train: {error}", file=sys.stderr)
        return 2
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="leyden-train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="where everything goes")
    parser.add_argument(
        "--workers", type=_from_one, help="processes; one for each core by default, one with a GPU"
    )
    parser.add_argument(
        "--shape", type=Path, help="JSON of the parts' widths; the embedded models' by default"
    )
    commands = parser.add_subparsers(required=True, metavar="STAGE")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    for add in (_data, _teacher, _distillation, _evaluation):
        add(command)
    whole = command(
        "all",
        lambda arguments: whole_run.run(arguments, parser.parse_args),
        "run every stage that is not finished, from pictures to the report",
    )
    whole.add_argument(
        "--scale", type=float, default=1.0, help="length of each training, number of pictures"
    )
    whole.add_argument("--vae", type=Path, help="a whitened VAE's folder, in place of training one")
    return parser


def _from_one(text: str) -> int:
    """Parse a number that is 1 or more.

    Raises:
        argparse.ArgumentTypeError: it is none.

    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


def _data(command: AddCommand) -> None:
    render = command("render", stages.render, "render the pictures and their captions")
    render.add_argument("--count", type=int, default=whole_run.PICTURES, help="number of pictures")
    render.add_argument("--seed", type=int, default=0)

    vae = command("vae", stages.vae, "train the VAE")
    vae.add_argument("--scale", type=float, default=1.0, help="length of the run, as a factor")

    latents = command("latents", stages.latents, "whiten the VAE and encode all pictures with it")
    taken = latents.add_mutually_exclusive_group()
    taken.add_argument(
        "--vae", type=Path, help="a whitened VAE's folder, in place of the run's own"
    )
    taken.add_argument(
        "--of",
        type=Path,
        metavar="TEACHER",
        help="a diffusers SDXL folder, to distil it: its VAE and tokenizers are taken",
    )


def _teacher(command: AddCommand) -> None:
    teacher = command("teacher", stages.teacher, "train the many-step teacher")
    teacher.add_argument("--half-iterations", type=int, help="at half size, before the whole one")
    teacher.add_argument("--whole-iterations", type=int, help="at whole size")
    teacher.add_argument("--cooldown", type=int, help="iterations of falling learning rate")
    teacher.add_argument("--half-batch", type=int, help="rows of each worker at half size")
    teacher.add_argument("--whole-batch", type=int, help="rows of each worker at whole size")
    teacher.add_argument("--learning-rate", type=float, help="the highest")
    teacher.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="FOLDER",
        help="weights that `keep` wrote, to start from where there is no checkpoint",
    )

    keep = command("keep", stages.keep, "keep the teacher's weights, to go on from them alone")
    keep.add_argument("out", type=Path, nargs="?", default=Path("training/weights/teacher"))

    export = command("export", stages.export_teacher, "write the teacher as a diffusers folder")
    export.add_argument("out", type=Path)


def _distillation(command: AddCommand) -> None:
    distil = command(
        "distil", distillation.distil_all, "distil a diffusers folder to 8, 4, 2, 1 steps"
    )
    distil.add_argument("teacher", type=Path, help="a diffusers SDXL folder")
    distil.add_argument(
        "--teacher-steps", type=int, default=TEACHER_STEPS, help="of the first stage"
    )
    distil.add_argument(
        "--guidance", type=float, default=GUIDANCE_SCALE, help="folded in by the first stage"
    )
    distil.add_argument("--down-to", type=int, choices=(8, 4, 2, 1), default=1)
    distil.add_argument("--rank", type=int, default=64, help="of the LoRA of each stage")
    distil.add_argument(
        "--without",
        choices=PARTS,
        action="append",
        metavar="LOSS",
        help="switch a loss off, in folders of its own: %(choices)s; may be given again",
    )

    ablation = command(
        "ablation", distillation.ablation, "train the 2-step student once without each loss"
    )
    ablation.add_argument("teacher", type=Path, help="the diffusers SDXL folder that was distilled")
    ablation.add_argument(
        "--variant",
        choices=distillation.VARIANTS,
        action="append",
        metavar="NAME",
        help="one of: %(choices)s; all by default; may be given again",
    )
    package = command(
        "package",
        distillation.package_all,
        "write teacher and students as models of a model repository",
    )
    package.add_argument("teacher", type=Path, help="the diffusers SDXL folder that was distilled")
    package.add_argument("out", type=Path, help="the model repository's folder")
    package.add_argument(
        "--down-to", type=int, choices=(8, 4, 2, 1), default=1, help="the student of fewest steps"
    )
    for parser, scale in ((distil, 1.0), (ablation, distillation.ABLATION_SCALE)):
        parser.add_argument(
            "--scale",
            type=float,
            default=scale,
            help="length of each run, as a factor of the usual; %(default)s by default",
        )
        parser.add_argument("--batch", type=_from_one, help="rows of each worker in each iteration")
        parser.add_argument("--seed", type=int, default=0)


def _evaluation(command: AddCommand) -> None:
    classifier = command("classifier", stages.classifier, "train what evaluation judges by")
    classifier.add_argument("--iterations", type=int, help="500 by default")

    evaluate = command(
        "evaluate", stages.evaluate, "compare the students with their teacher, and write a report"
    )
    usual = EvaluationSettings()
    evaluate.add_argument("teacher", type=Path, help="its diffusers SDXL folder")
    evaluate.add_argument("--pictures", type=int, default=usual.pictures, help="of each system")
    evaluate.add_argument("--guidance", type=float, default=GUIDANCE_SCALE, help="of the teacher")
    evaluate.add_argument("--draws", type=int, default=usual.draws, help="of the bootstrap")
    evaluate.add_argument("--speed-rounds", type=int, default=usual.speed_rounds, help="of timing")
    evaluate.add_argument(
        "--ablation",
        type=stages.labelled_folder,
        action="append",
        metavar="NAME=FOLDER",
        help="the run folder of a student trained with other losses; may be given again",
    )
    evaluate.add_argument(
        "--ablation-steps",
        type=int,
        choices=(8, 4, 2, 1),
        default=distillation.ABLATION_STEPS,
        help="steps of those students; %(default)s by default",
    )
    evaluate.add_argument(
        "--report", type=Path, help="folder of the page; evaluation/report by default"
    )

    command("curves", stages.curves, "draw curve.png beside the curve.csv of every run")

    sample = command("sample", stages.sample, "a contact sheet of a diffusers folder")
    sample.add_argument("model", type=Path)
    sample.add_argument("out", type=Path)
    sample.add_argument("--steps", type=int, default=25)
    sample.add_argument("--guidance", type=float, default=GUIDANCE_SCALE)
    sample.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"))
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--prompt", action="append", help="instead of the usual twelve")


if __name__ == "__main__":
    sys.exit(main())
