"""The shape of the package: who may import whom, who may touch what, and how much stands in one file."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support import PROJECT

PACKAGE = PROJECT / "mperceiver"
MODULES = sorted(PACKAGE.rglob("*.py"))

UNTOLD = {
    "new_vae",
    "new_unet",
    "clip_config",
}  # of foundations/pretrain/: each is one call of a library's constructor


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def short(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path, top_only: bool = False) -> Iterator[str]:
    """Dotted names of all that a module imports; with ``top_only`` only what is imported when it is."""
    for node in _at_import(tree(path)) if top_only else ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{short(path)}:{node.lineno}: a relative import; give the whole name"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module that run when it is imported: no bodies of functions, nothing for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _at_import(child)


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def importers(*names: str) -> set[str]:
    """The modules that import any of some packages, anywhere in them."""
    return {short(path) for path in MODULES if any(name.split(".")[0] in names for name in imports(path))}


def option(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == name), None)


# ---------------------------------------------------------------- arrows


def test_arrows_point_down():
    """The contracts in pyproject.toml: layers, the orchestrator, YAML."""
    done = subprocess.run(["lint-imports", "--no-cache"], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("below", ["grid", "scores", "columns", "tables"])
def test_report_tables_stand_below_figures_and_pages(below):
    folder = PACKAGE / "report" / below
    for path in folder.glob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
        names = set(imports(path))
        assert not {f"mperceiver.report.{above}" for above in ("figures", "site", "trace")} & names, short(path)


# ---------------------------------------------------------------- who may touch what


def test_only_config_reads_yaml():
    assert importers("yaml", "ruamel") == {"config/plain_yaml.py"}


def test_only_images_touches_picture_files():
    # Two more use PIL in memory alone: generated.py draws polygons, jpeg.py takes a picture through the codec and back.
    by_images = {short(path) for path in MODULES if path.parent.name == "images"}
    assert importers("PIL") - by_images == {"data/raw/generated.py", "degradations/jpeg.py"}
    others = importers("cv2", "imageio", "imagecodecs", "pillow_heif", "tifffile")
    # These warp, filter and mix arrays.
    mixers = {"degradations/blur.py", "degradations/common.py", "metrics/alignment.py", "metrics/fidelity.py"}
    assert others - by_images == mixers
    # Inside the package one place asks PIL to open a file, of one form.
    opened = [
        (name, ast.unparse(call))
        for name in sorted(by_images)
        for function, call in calls(PACKAGE / name)
        if function == "Image.open"
    ]
    assert opened == [
        ("images/pil.py", "Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=[form])"),
    ]
    for name in ("data/raw/generated.py", "degradations/jpeg.py"):
        opened = [call for function, call in calls(PACKAGE / name) if function in ("Image.open", "open")]
        assert all(ast.unparse(call.args[0]) == "buffer" for call in opened), name


def test_only_commits_asks_git_and_few_start_processes():
    assert importers("git", "pygit2", "dulwich") == set()
    starts = {
        "commits.py": ["['git', *arguments]"],
        "programs.py": ["command"],
        "data/archives/tools.py": ["command"] * 2,
    }
    starts["restoring/commands.py"] = ["words"]
    assert importers("subprocess") == starts.keys()
    for name, started in starts.items():
        found = [call for function, call in calls(PACKAGE / name) if function in ("subprocess.run", "subprocess.Popen")]
        assert [ast.unparse(call.args[0]) for call in found] == started, name  # lists of words, no shell between


@pytest.mark.parametrize(
    "name",
    [
        *(
            "config/__init__.py",
            "commits.py",
            "lineage.py",
            "files.py",
            "images/__init__.py",
            "fetch/transfer.py",
            "foundations/staging.py",
        ),
        *("cli/base.py", "metrics/__init__.py", "restoring/datasets.py", "report/tables/__init__.py"),
    ],
)
def test_torch_is_not_imported_with(name):
    heavy = {
        "torch",
        "torchvision",
        "diffusers",
        "transformers",
        "open_clip",
        "pyiqa",
        "lpips",
        "accelerate",
        "safetensors",
    }
    assert not heavy & {module.split(".")[0] for module in imports(PACKAGE / name, top_only=True)}


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        # what Snakemake imports at each start, and what every verb imports
        (
            "config, lineage, cli, data.prepare.dataset, restoring.console",
            "torch, diffusers, matplotlib, pandas, skimage, snakemake",
        ),
        # what the trace of a cell imports: it answers in a second
        ("report.trace", "torch, diffusers, matplotlib, pandas, skimage, snakemake"),
        # what a job imports that prints a table or the site
        ("report.tables, report.site", "torch, diffusers, matplotlib.pyplot, skimage, snakemake"),
    ],
)
def test_no_heavy_library_comes_in_by_another_door(modules, absent):
    program = (
        f"import sys, {', '.join(f'mperceiver.{module}' for module in modules.split(', '))};"
        f"print([name for name in {absent.split(', ')} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_only_paths_spells_paths_of_data_and_results(path):
    """Strings that begin a path under data/ or results/; docstrings, sentences and names in <> are words, not paths."""
    if short(path) == "paths.py":
        return
    docstrings = {id(node.body[0].value) for node in ast.walk(tree(path)) if _has_docstring(node)}
    texts = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    spelled = [
        f"{short(path)}:{node.lineno}: {node.value}"
        for node in texts
        if id(node) not in docstrings and re.fullmatch(r"(data|results)/[^\s<>]*", node.value)
    ]
    assert not spelled, "take the path from mperceiver.paths"


def _has_docstring(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node) is not None


# ---------------------------------------------------------------- nothing that runs what it reads


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_nothing_that_is_read_can_run(path):
    for function, call in calls(path):
        where = f"{short(path)}:{call.lineno}: {function}"
        if function == "torch.load":
            assert option(call, "weights_only") == "True", f"{where} without weights_only=True"
        assert option(call, "shell") != "True", f"{where} with shell=True"
        assert option(call, "allow_pickle") in (None, "False"), f"{where} with allow_pickle"
        assert function not in {
            "yaml.load",
            "yaml.unsafe_load",
            "yaml.full_load",
            "eval",
            "exec",
            "os.system",
            "os.popen",
        }, where


def test_the_only_pickle_is_restricted():
    """metrics/weights.py has an unpickler that builds arrays and nothing else; others may at most name pickle's error."""
    assert importers("dill", "joblib", "cloudpickle", "marshal", "shelve") == set()
    for path in MODULES:
        used = {ast.unparse(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
        used |= {name for name in imports(path) if name.startswith("pickle.")}
        allowed = {"pickle.UnpicklingError"} | ({"pickle.Unpickler"} if short(path) == "metrics/weights.py" else set())
        assert {name for name in used if name.startswith("pickle.")} <= allowed, short(path)
    classes = [node for node in tree(PACKAGE / "metrics/weights.py").body if isinstance(node, ast.ClassDef)]
    unpickler = next(node for node in classes if "pickle.Unpickler" in map(ast.unparse, node.bases))
    assert "find_class" in {node.name for node in unpickler.body if isinstance(node, ast.FunctionDef)}


# ---------------------------------------------------------------- what a reader holds in the head


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_no_module_is_long(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 350, f"{short(path)} has {lines} lines; a part of it wants a file of its own"


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_what_is_public_says_what_it_is(path):
    """Modules; classes, unless they are records whose fields tell; functions of more than a few lines."""
    assert ast.get_docstring(tree(path)), f"{short(path)}: a docstring says what the module is for"
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not _is_record(node):
            assert ast.get_docstring(node), f"{short(path)}:{node.lineno}: class {node.name} has no docstring"
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in UNTOLD:
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 4 or ast.get_docstring(node), f"{short(path)}:{node.lineno}: {node.name} has no docstring"


def _is_record(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(d) for d in node.decorator_list) or "NamedTuple" in map(
        ast.unparse, node.bases
    )


@pytest.mark.parametrize("path", [*MODULES, *sorted((PROJECT / "tools").glob("*.py"))], ids=lambda path: path.stem)
def test_the_encoding_of_text_is_said(path):
    """Never the locale's. ruff's PLW1514 sees only the calls whose object it knows to be a path."""
    unsaid = []
    for name, call in calls(path):
        name, given = name.rpartition(".")[2], {keyword.arg for keyword in call.keywords}
        texts = [a.value for a in [*call.args, *(k.value for k in call.keywords)] if isinstance(a, ast.Constant)]
        mode = next((t for t in texts if isinstance(t, str) and re.fullmatch("[rwxa][+bt]*", t)), None)
        own = name == "write_text" and len(call.args) == 2  # files.write_text, which says it
        text = (
            name == "read_text" or (name == "write_text" and not own) or (name == "open" and mode and "b" not in mode)
        )
        decoded = any(
            k.arg == "text" and isinstance(k.value, ast.Constant) for k in call.keywords
        )  # a subprocess's output
        if (text or decoded) and "encoding" not in given:
            unsaid.append(f"{path.name}:{call.lineno}: {ast.unparse(call)}")
    assert unsaid == []
