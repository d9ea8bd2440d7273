"""The recipe of the container, as far as it can be tried without an engine: its form, what it copies, and what it runs."""

import re
import shlex

from support import PROJECT

KNOWN = {"FROM", "RUN", "ENV", "COPY", "WORKDIR", "CMD"}


def instructions() -> list[tuple[str, str]]:
    text = (PROJECT / "Containerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in joined.splitlines()]


def test_it_is_well_formed_and_begins_with_a_fixed_image():
    found = instructions()
    assert {name for name, _ in found} == KNOWN
    assert found[0][0] == "FROM" and ":" in found[0][1] and "latest" not in found[0][1]
    for name, text in found:
        if name == "RUN":
            shlex.split(text)  # quotes are closed
        if name == "ENV":
            assert all("=" in word for word in shlex.split(text))


def test_what_it_copies_is_there_and_is_not_ignored():
    ignored = (PROJECT / ".containerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    for name, text in instructions():
        if name == "COPY":
            for source in text.split()[:-1]:
                assert (PROJECT / source).exists() and f"!{source}" in ignored


def test_it_installs_the_lock_and_its_python_is_one_of_the_projects():
    commands = " && ".join(text for name, text in instructions() if name == "RUN")
    assert "uv sync --frozen --no-install-project" in commands
    version = re.search(r"python:3\.(\d+)", instructions()[0][1])
    project = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    assert version and int(version[1]) >= int(re.search(r'requires-python = ">=3\.(\d+)"', project)[1])


def test_the_snakefile_names_the_image_that_the_page_builds():
    image = re.search(r'^container: "(.+)"$', (PROJECT / "Snakefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert f"apptainer build {image} " in (PROJECT / "docs/container.md").read_text(encoding="utf-8")
