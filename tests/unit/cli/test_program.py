"""The end of the program, in processes of its own, beside what Python itself does with the same command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import PROJECT

TORCH = "import sys, types; sys.modules['torch'] = types.ModuleType('torch')\n"
FREED = """
class Freed:
    def __del__(self, write=print):
        write("freed")
kept = Freed()
"""  # Python takes every module apart before it ends, and says so here
PLAIN = "command()\n"
ENDED = "from mperceiver.cli.program import to_the_end\nto_the_end(command)\n"


def command(body: str) -> str:
    """Source of a function ``command`` with a body."""
    return "def command():\n" + "".join(f"    {line}\n" for line in body.splitlines())


def python(*words: str | Path, **options) -> subprocess.CompletedProcess:
    """Python with some words, its outputs through pipes and buffered; ``environment``: what is set besides."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": ""} | options.pop("environment", {})
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([sys.executable, *words], text=True, env=environment, timeout=60, **options)


def program(source: str, **options) -> subprocess.CompletedProcess:
    return python("-c", source, **options)


def outcome(done: subprocess.CompletedProcess) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("end", "code", "error"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(0)", 0, ""),
        ("sys.exit(1)", 1, ""),
        ("sys.exit(130)", 130, ""),
        ("sys.exit(143)", 143, ""),
        ("sys.exit(259)", 3, ""),
        ("sys.exit('no such thing')", 1, "no such thing\n"),
    ],
)
def test_exit_codes_are_those_of_python(end, code, error):
    body = command(f"print('output', end='')\n{end}")
    assert outcome(program(TORCH + body + PLAIN)) == outcome(program(TORCH + body + ENDED)) == (code, "output", error)


def test_nothing_is_freed_where_torch_was_imported():
    body = FREED + command("print('work')")
    assert outcome(program(TORCH + body + PLAIN)) == (0, "work\nfreed\n", "")
    assert outcome(program(TORCH + body + ENDED)) == (0, "work\n", "")
    assert outcome(program("import sys\n" + body + ENDED)) == (0, "work\nfreed\n", "")


def test_an_error_without_a_handler_ends_as_ever():
    done = program(TORCH + FREED + command("raise LookupError('nothing there')") + ENDED)
    assert (done.returncode, done.stdout) == (1, "freed\n") and done.stderr.endswith("LookupError: nothing there\n")


def test_what_python_does_at_the_end_is_done(tmp_path):
    """Threads end their work, then exit handlers are called, the last one first; temporary folders are removed."""
    body = command(
        "import atexit, ctypes, tempfile, threading, time\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "atexit.register(print, 'second handler')\n"
        "atexit.register(print, 'first handler')\n"
        "global folder\n"
        f"folder = tempfile.TemporaryDirectory(dir={str(tmp_path)!r})\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        "ThreadPoolExecutor(1).submit(lambda: (time.sleep(0.1), print('pool')))\n"
        "ctypes.CDLL(None).printf(b'output of a library in C\\n')\n"
        "print('work')"
    )
    expected = ["work", "pool", "thread", "first handler", "second handler"]
    for end in (PLAIN, ENDED):
        done = program(TORCH + FREED + body + end)
        lines = done.stdout.splitlines()
        assert (done.returncode, done.stderr) == (0, "") and "output of a library in C" in lines
        assert [line for line in lines if line in expected] == expected
        assert ("freed" in lines) == (end == PLAIN)
        assert list(tmp_path.iterdir()) == []


def test_handlers_that_were_there_before_the_command_are_called():
    done = program(TORCH + "import atexit\natexit.register(print, 'handler')\n" + command("print('work')") + ENDED)
    assert outcome(done) == (0, "work\nhandler\n", "")


def test_a_closed_pipe_is_an_error_as_ever():
    body = command("print('output')\nsys.exit(0)")
    for end in (PLAIN, ENDED):
        reader, writer = os.pipe()
        os.close(reader)
        done = program(TORCH + body + end, stdout=writer)
        os.close(writer)
        assert done.returncode == 120 and done.stderr.endswith("BrokenPipeError: [Errno 32] Broken pipe\n")


def test_a_reader_that_has_read_enough_is_no_error():
    """`mperceiver degradations | head -1`: nothing is said of a file or its permissions."""
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "mperceiver.cli", "degradations"]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=PROJECT)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_standing_process_group_ends_as_ever():
    distributed = "sys.modules['torch.distributed'] = types.SimpleNamespace({})\n"
    body = FREED + command("print('work')") + ENDED
    standing = distributed.format("is_available=lambda: True, is_initialized=lambda: True")
    left = distributed.format("is_available=lambda: True, is_initialized=lambda: False")
    absent = distributed.format("is_available=lambda: False")
    assert program(TORCH + standing + body).stdout == "work\nfreed\n"
    assert program(TORCH + left + body).stdout == program(TORCH + absent + body).stdout == "work\n"


def test_a_profiler_around_the_command_prints_its_table(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(TORCH + command("sys.exit(3)") + ENDED)
    done = python("-m", "cProfile", script)
    assert "function calls" in done.stdout and "to_the_end" in done.stdout


@pytest.mark.parametrize("words", [[], ["-m", "coverage", "run"]])
def test_coverage_is_written(tmp_path, words):
    """Of a process that coverage starts in by itself, and of one that it runs."""
    settings, script, data = tmp_path / "settings.ini", tmp_path / "script.py", tmp_path / "coverage"
    settings.write_text(f"[run]\ndata_file = {data}\n")
    script.write_text(TORCH + command("print('work')") + ENDED)
    environment = {"COVERAGE_FILE": str(data)} | ({} if words else {"COVERAGE_PROCESS_START": str(settings)})
    done = python(*words, script, environment=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "work\n") and data.stat().st_size > 0


@pytest.mark.parametrize("words", [["-m", "mperceiver.cli"], [Path(sys.executable).with_name("mperceiver")]])
def test_the_program_ends_quickly_and_with_its_code(tmp_path, words):
    """Both ways to call it, with a command that fails."""
    (tmp_path / "sitecustomize.py").write_text(TORCH + FREED)  # Python imports it when it starts
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
    assert python("-c", "", environment=environment).stdout == "freed\n"
    done = python(*words, "explain", "here", "there", environment=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("error: ")
