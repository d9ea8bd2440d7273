"""The generated blocks of ARCHITECTURE.md: the package's tree, from docstrings, and who may import whom, from pyproject.toml."""

import ast
import re
import tomllib
from pathlib import Path

from tools.blocks import fill

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "mperceiver"
WIDTH = 34  # of the column of names
# Packages with one file for each thing of a kind: {package: (the kind, the modules that are something else)}. These files share
# a line, so that a new one changes nothing in the tree.
ONE_FILE_EACH: dict[str, tuple[str, set[str]]] = {
    "degradations": ("a family of degradations", {"common.py", "describe.py", "mix.py", "ranges.py"}),
    "models/baselines": ("a baseline", {"architecture.py", "da_clip_unet.py", "ir_sde.py", "network.py"}),
}


def page() -> str:
    """ARCHITECTURE.md with its generated blocks as they should be."""
    text = (PROJECT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    return fill(fill(text, "layers", layers()), "tree", tree())


def contracts() -> list[dict]:
    """The contracts of import-linter."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def layers() -> str:
    """The layers of the package from top to bottom, then the other contracts in a line each."""
    ordered = next(contract["layers"] for contract in contracts() if contract["type"] == "layers")
    names = ["   ".join(layer.split(" | ")) for layer in ordered]
    others = [
        f"- {contract['name']} ({', '.join(f'`{name}`' for name in contract['forbidden_modules'])})"
        for contract in contracts()
        if contract["type"] == "forbidden"
    ]
    return "\n".join(["```text", "\n  ↓\n".join(names), "```", "", *others])


def tree() -> str:
    """A line for each module: its name and the first sentence of its docstring. Packages come in the order of the layers."""
    ordered = next(contract["layers"] for contract in contracts() if contract["type"] == "layers")
    lines = ["mperceiver/"]
    for name in (name for layer in ordered for name in layer.split(" | ")):
        folder = PACKAGE / name
        lines += package(folder, 1) if folder.is_dir() else [line(folder.with_suffix(".py"), 1)]
    return "\n".join(["```text", *lines, "```"])


def package(folder: Path, depth: int) -> list[str]:
    """The lines of a package: itself, its modules, its packages."""
    modules = sorted(path for path in folder.glob("*.py") if not path.stem.startswith("__"))
    packages = sorted(path.parent for path in folder.glob("*/__init__.py"))
    kind, others = ONE_FILE_EACH.get(folder.relative_to(PACKAGE).as_posix(), ("", set()))
    if kind:
        shared = [f"{'  ' * (depth + 1) + '<name>.py':<{WIDTH}} One file for each: {kind}."]
        return [
            line(folder / "__init__.py", depth),
            *(line(folder / name, depth + 1) for name in sorted(others)),
            *shared,
        ]
    below = [text for inner in packages for text in package(inner, depth + 1)]
    return [line(folder / "__init__.py", depth), *(line(path, depth + 1) for path in modules), *below]


def line(path: Path, depth: int) -> str:
    name = "  " * depth + (f"{path.parent.name}/" if path.stem == "__init__" else path.name)
    return f"{name:<{WIDTH}} {summary(path)}"


def summary(path: Path) -> str:
    """The first sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=[.?!])(?<!Fig\.)(?<!Eq\.)(?<!al\.)\s", " ".join(docstring.split("\n\n")[0].split()))[0]
