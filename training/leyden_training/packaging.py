"""The finished models as folders of a model repository.

Weights and configs alone are written. What a person writes about a model, `model.yaml` and its
card, stays as it is.
"""

import json
import shutil
from pathlib import Path

from leyden_training.distillation.steps import Prediction
from leyden_training.parts import noise_schedule

__all__ = ["package", "student_name"]

BASE = "leyden-tiny-base"
SHARED = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae")
"""What every student has from the base."""


def student_name(steps: int) -> str:
    """Return the name that a student of so many steps ships under."""
    return f"leyden-tiny-lightning-{steps}step"


def package(pipeline: Path, students: dict[int, tuple[Path, Prediction]], out: Path) -> int:
    """Write the teacher and its students, every part once.

    A student's folder has its own UNet and links to the base for all else, so that stock
    diffusers loads it, and the server sees that the encoders and the VAE are shared.

    Args:
        pipeline: the teacher's diffusers folder, in float16.
        students: by number of steps, a UNet's folder and what it predicts.
        out: the model repository.

    Returns:
        The size of all of them together in bytes; links count nothing.

    Raises:
        FileNotFoundError: a part is missing; nothing is written then.

    """
    base, parts = out / BASE, (*SHARED, "unet", "scheduler")
    for source in (*(pipeline / part for part in parts), *(unet for unet, _ in students.values())):
        if not source.is_dir():
            raise FileNotFoundError(f"{source} is missing")
    for part in parts:
        _copy_folder(pipeline / part, base / part)
    shutil.copyfile(pipeline / "model_index.json", base / "model_index.json")
    for steps, (unet, prediction) in students.items():
        folder = out / student_name(steps)
        _copy_folder(unet, folder / "unet")
        _link(folder / "unet" / "config.json", f"../../{BASE}/unet/config.json")
        for part in (*SHARED, "model_index.json"):
            _link(folder / part, f"../{BASE}/{part}")
        if prediction == "epsilon":
            _link(folder / "scheduler", f"../{BASE}/scheduler")
        else:
            _remove(folder / "scheduler")
            noise_schedule(prediction).save_pretrained(folder / "scheduler")
    folders = [base, *(out / student_name(steps) for steps in students)]
    files = [file for folder in folders for file in folder.rglob("*")]
    return sum(f.stat().st_size for f in files if f.is_file() and not f.is_symlink())


def _copy_folder(source: Path, target: Path) -> None:
    _remove(target)
    shutil.copytree(source, target)
    _forget_origin(target / "config.json")


def _forget_origin(config: Path) -> None:
    """Take out where diffusers loaded the part from: a path of the machine that trained it."""
    if config.exists():
        fields = json.loads(config.read_text())
        fields.pop("_name_or_path", None)
        config.write_text(json.dumps(fields, indent=2) + "\n")


def _link(link: Path, target: str) -> None:
    _remove(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
