"""Java: `client/java`, by Maven. Formatted by Spotless; the compiler's warnings are errors."""

import re
import subprocess
from pathlib import Path

from clients.languages.language import ROOT, Command, Language, Stubs, Tool

__all__ = ["LANGUAGE"]

FOLDER = ROOT / "client" / "java"
MVN = ("mvn", "--batch-mode", "--quiet")
OLDEST = 17


def _new_enough() -> bool:
    said = subprocess.run(["javac", "-version"], capture_output=True, text=True, check=False)
    version = re.search(r"javac (\d+)", said.stdout)
    return version is not None and int(version[1]) >= OLDEST


def _write(folder: Path) -> list[Command]:
    arguments = [*MVN, "--file", "stubs/pom.xml", "generate-sources", f"-Dstubs.directory={folder}"]
    return [Command("Java stubs (protoc)", arguments, FOLDER)]


TOOLS = (
    Tool("javac", ["openjdk-17-jdk-headless"], _new_enough),
    Tool("mvn", ["maven"]),
)

LANGUAGE = Language(
    name="java",
    title="Java",
    tools=TOOLS,
    build=[
        Command(
            "Java client (mvn test-compile)",
            [
                *MVN,
                "test-compile",
                "dependency:build-classpath",
                "-DincludeScope=test",
                "-Dmdep.outputFile=target/classpath.txt",
            ],
            FOLDER,
        )
    ],
    runner=Command(
        "Java runner",
        [
            "sh",
            "-c",
            'exec java -cp "target/classes:target/test-classes:$(cat target/classpath.txt)" '
            "ai.leyden.runner.Runner",
        ],
        FOLDER,
    ),
    lint=[Command("Java format (google-java-format)", [*MVN, "spotless:check"], FOLDER)],
    lint_tools=TOOLS,
    tests=[Command("Java tests and documentation (mvn verify)", [*MVN, "verify"], FOLDER)],
    stubs=Stubs(FOLDER / "src" / "generated" / "java", _write, "**/*.java"),
    stub_tools=TOOLS,
    compile_time=frozenset({"misspelt field"}),
)
