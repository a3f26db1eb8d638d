"""Python: `leyden_client` of this checkout. Its tools and its stubs are the project's own."""

from clients.languages.language import PYTHON, ROOT, Command, Language

__all__ = ["LANGUAGE"]

LANGUAGE = Language(
    name="python",
    title="Python",
    runner=Command(
        "Python runner",
        [PYTHON, str(ROOT / "tests" / "clients" / "python_runner.py")],
        environment={"PYTHONPATH": str(ROOT / "client" / "python")},
    ),
)
