"""Files of config/ that nobody would write: each ends in a ConfigError that names the file, soon and without much memory."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mperceiver import config
from mperceiver.config import ConfigError, plain_yaml


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config/datasets").mkdir(parents=True)


def laughs(levels: int, each: int, form: str = "[{}]") -> str:
    lines = ["a0: &a0 [" + ",".join(["x"] * each) + "]"]
    lines += [f"a{i}: &a{i} " + form.format(",".join([f"*a{i - 1}"] * each)) for i in range(1, levels)]
    return "\n".join(lines)


def maps(levels: int) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{" + ", ".join(f"k{j}: *a{i - 1}" for j in range(9)) + "}" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs(9, 9), "stands for more than 100000 values"),
        (laughs(40, 2), "stands for more than 100000 values"),
        (maps(8), "stands for more than 100000 values"),
        ("a: &a [x]\nb: [" + ",".join(["*a"] * 60_000) + "]", "stands for more than"),
        ("&a [*a]", r"\*a stands inside its own anchor"),
        ("a: &a {b: {c: *a}}", r"\*a stands inside its own anchor"),
        ("[" * 200_000, "more than 64 levels"),
        ("- " * 100_000 + "x", "more than 64 levels"),
        ("{a: " * 200, "more than 64 levels"),
        ("seed: " + "9" * 5000, "too many digits"),
        ("seed: 0x" + "f" * 5000, "too many digits"),
        ("seed: 0500", "0500 is no decimal number"),
        ("seed: [-017]", "-017 is no decimal number"),
        ("seed: 1:30", "1:30 is no decimal number"),
        ("a: 2001-99-99", "month must be in"),
        ("a: !!timestamp x", "not valid YAML"),
        ("a: !!int x", "not valid YAML"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("? {a: b}\n: c", "not valid YAML"),
        ("a: *nothing", "undefined alias"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("a: 1\na: 2", "`a` is given twice"),
        ("x" * 5_000_000, "longer than 4000000 letters"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration(here, text, message):
    Path("config/datasets/odd.yaml").write_text(text, encoding="utf-8")
    started = time.process_time()
    with pytest.raises(ConfigError, match=message) as caught:
        config.load("datasets", "odd")
    assert "config/datasets/odd.yaml" in str(caught.value) and time.process_time() - started < 5


@pytest.mark.parametrize("data", [b"\xff\xfe", b"title: \xe9", b"\x80" * 100])
def test_bytes_that_are_no_text(here, data):
    Path("config/datasets/odd.yaml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"config/datasets/odd\.yaml: not valid YAML"):
        config.load("datasets", "odd")


def test_what_is_no_file(here):
    Path("folder.yaml").mkdir()
    for path in (Path("folder.yaml"), Path("/proc/self/mem"), Path("a" * 300 + ".yaml")):
        for read in (config.read_yaml, lambda path: config.parse(path, config.KINDS["runs"])):
            with pytest.raises(ConfigError, match="cannot be read|no such file"):
                read(path)


def test_aliases_are_taken_in_moderation(here):
    Path("x.yaml").write_text("a: &a {b: 1, c: [1, 2]}\nd: *a\ne: {<<: *a, f: 2}\ng: [*a, *a]\n", encoding="utf-8")
    a = {"b": 1, "c": [1, 2]}
    assert plain_yaml.read(Path("x.yaml")) == {"a": a, "d": a, "e": a | {"f": 2}, "g": [a, a]}


def test_many_faults_are_counted_and_the_first_are_named(here):
    Path("config/datasets/odd.yaml").write_text("\n".join(f"k{i}: 1" for i in range(5000)), encoding="utf-8")
    with pytest.raises(ConfigError, match="and 49[0-9]{2} more") as caught:
        config.load("datasets", "odd")
    assert len(str(caught.value)) < 5000


def test_the_memory_of_a_few_lines(tmp_path):
    """A file of a kilobyte takes no more than the modules that read it."""
    (tmp_path / "config/datasets").mkdir(parents=True)
    (tmp_path / "config/datasets/odd.yaml").write_text(laughs(12, 9), encoding="utf-8")
    code = (
        "import re\nfrom mperceiver import config\ntry: config.load('datasets', 'odd')\nexcept config.ConfigError: pass\n"
        # ru_maxrss would be that of the process that started this one, if that was larger
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status', encoding='utf-8').read())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert int(done.stdout) < 300 << 10, done.stderr


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["demo", "rain", "a.zip", "**"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", config.KINDS)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_under_the_keys(kind, data, tmp_path):
    """Any value under any key of a file: the model takes it, or says what is wrong; nothing else is raised."""
    import yaml

    model = config.KINDS[kind]
    keys = [field.alias or name for name, field in model.model_fields.items()]
    raw = data.draw(st.dictionaries(st.sampled_from(keys), VALUES, max_size=5))
    path = tmp_path / "odd.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    try:
        config.parse(path, model)
    except ConfigError as error:
        assert str(path) in str(error)
