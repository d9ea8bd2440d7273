"""What all tests share: one thread, no GPU, no network, and a miniature working directory with a tiny real foundation."""

import copy
import ipaddress
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import TINY, warm
from support.once import built_once
from support.serving import serving
from support.weights import stage_weights

# Before torch is imported by anything; processes that a test starts inherit it.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
for name in ("http_proxy", "https_proxy", "all_proxy"):  # one on loopback would lead out
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--gpu-device", default="cuda", help="device of the tests that are marked gpu; cpu: a trial of them"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs and SLURM clusters from all tests but those that are for one (`pytest -m gpu`, `-m cluster`).

    A job's number that a test has made up is otherwise a real job's, if a cluster runs on this machine.
    """
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if config.option.markexpr != "cluster":
        os.environ["SLURM_CONF"] = os.devnull


COMMIT = ("0" * 40, False)  # made up, so that the tests run without a checkout


# ---------------------------------------------------------------- no network


def _near(host: str | bytes | None) -> bool:
    """Whether a host is this machine's loopback."""
    host = host.decode() if isinstance(host, bytes) else host
    if not host or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def small_floats():
    """A training in the tests' own process has torch round the smallest floats to 0, which Hypothesis refuses in a later test."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session", autouse=True)
def no_network():
    """A connection to, or a look-up of, any host but loopback raises; a local socket file is no network."""

    def refuse(host: object) -> None:
        raise PermissionError(f"a test wanted to reach {host!r}: tests use no network beyond loopback")

    def guarded(method):
        def connect(self: socket.socket, address, *rest):
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _near(address[0]):
                refuse(address)
            return method(self, address, *rest)

        return connect

    look_up = socket.getaddrinfo

    def getaddrinfo(host, *rest, **options):
        if not _near(host) and host != socket.gethostname():
            refuse(host)
        return look_up(host, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


@pytest.fixture
def server(monkeypatch):
    """A web server on loopback (tests/support/serving.py), and no waiting between tries."""
    from mperceiver.fetch import transfer

    monkeypatch.setattr(transfer, "WAITS_S", (0,) * len(transfer.WAITS_S))
    with serving() as server:
        yield server


# ---------------------------------------------------------------- a tiny world


@pytest.fixture(scope="session")
def warm_commands() -> Iterator[Path]:
    """The folder of programs that start at once (tests/support/warm.py)."""
    with warm.serving() as folder:
        yield folder


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory) -> Path:
    """A working directory as tests/tiny describes it: pictures prepared, a foundation of random weights staged."""
    from mperceiver import commits, config
    from mperceiver.data.prepare.dataset import prepare_dataset
    from mperceiver.data.raw.download import download_dataset
    from mperceiver.foundations import staging

    def build(root: Path) -> None:
        shutil.copytree(TINY / "config", root / "config")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            patch.setattr(commits, "current", lambda: COMMIT)
            download_dataset("leaves", [])
            for name in ("leaves", "tiny-train"):
                prepare_dataset(name, workers=1)
            spec = config.load("foundations", "tiny")
            write_foundation(spec, root / spec.local)
            staging.stage("tiny")
            stage_weights(root, "lpips-alex")

    return built_once(tmp_path_factory, "tiny", build)


@pytest.fixture(scope="session")
def metric_weights(tmp_path_factory) -> Path:
    """A folder whose data/foundations/ has the weights of LPIPS, NIQE and BRISQUE."""
    from mperceiver import commits

    def build(root: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(commits, "current", lambda: COMMIT)
            stage_weights(root, "lpips-alex", "lpips-vgg", "niqe", "brisque")

    return built_once(tmp_path_factory, "metric-weights", build)


def write_foundation(spec, folder: Path) -> None:
    """The parts of a foundation's recipe with random weights, in the layout of a pre-trained one."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    from mperceiver.foundations.pretrain.clip import clip_config, write_text_encoder
    from mperceiver.foundations.pretrain.storage import save_half
    from mperceiver.foundations.pretrain.unet import new_unet, write_scheduler
    from mperceiver.foundations.pretrain.vae import new_vae

    torch.manual_seed(0)
    recipe = spec.build
    for part in ("vae", "unet", "text_encoder", "scheduler", "image_encoder"):
        (folder / part).mkdir(parents=True)
    save_half(new_vae(recipe, spec.trunk_norm), folder / "vae")
    save_half(new_unet(recipe), folder / "unet")
    clip = CLIP(**clip_config(recipe))
    save_file(clip.state_dict(), folder / "image_encoder/open_clip_model.safetensors")
    described = json.dumps({"model_cfg": clip_config(recipe)})
    (folder / "image_encoder/open_clip_config.json").write_text(described, encoding="utf-8")
    write_text_encoder(recipe, folder / "image_encoder", folder / "text_encoder")
    write_scheduler(recipe, folder / "scheduler")


@pytest.fixture
def tiny_world(tiny_root, tmp_path, monkeypatch) -> Path:
    """A copy of the tiny working directory to work in."""
    from mperceiver import commits

    root = tmp_path / "world"
    shutil.copytree(tiny_root, root)
    monkeypatch.chdir(root)
    monkeypatch.setattr(commits, "current", lambda: COMMIT)
    return root


@pytest.fixture(scope="session")
def stock(tiny_root):
    """The tiny foundation, loaded; to compare with, not to hook into."""
    from mperceiver.models import towers

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_root)
        return towers.load("tiny")


@pytest.fixture
def foundation(stock):
    """The tiny foundation, loaded; a test may hook into it."""
    return copy.deepcopy(stock)


@pytest.fixture(scope="session")
def tiny_run(tiny_root):
    """config/runs/tiny.yaml."""
    from mperceiver import config

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_root)
        return config.load("runs", "tiny")
