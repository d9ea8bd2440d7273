"""Damaged archives, pictures, answers, weights, states and configuration files end in the project's own errors.

Nothing is written outside the folder of the output, and memory stays bounded. The ordinary tests make some hundred files a kind, the same ones each time;
`make fuzz MINUTES=10` goes on for as long as one likes, from another seed each time.
"""

import bz2
import contextlib
import gzip
import io
import itertools
import lzma
import shutil
import socket
import struct
import tarfile
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save
from support import PROJECT
from support.fuzzing import MEMORY_BYTES, peak_bytes, reset_peak, rounds
from torch import nn

from mperceiver import config, images, lineage
from mperceiver.config import ConfigError
from mperceiver.data import DataError
from mperceiver.data.archives.unpack import check_archives, unpack_archives
from mperceiver.fetch import FetchError, fetch, hub, probe, transfer
from mperceiver.files import ChecksumError
from mperceiver.images import limits
from mperceiver.models.weights import load_weights
from mperceiver.training.resume import StateError, read_state

MEMBERS = {"set/lq/a.png": bytes(range(256)) * 4, "set/gt/a.png": b"gt" * 300, "set/\u96e8.txt": b"a b\n", "e/": b""}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty working directory; what a test adds to memory is bounded."""
    monkeypatch.chdir(tmp_path)
    before = reset_peak()
    yield
    assert peak_bytes() - before < MEMORY_BYTES


# ---------------------------------------------------------------- archives


def zipped(method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as bundle:
        for name, data in MEMBERS.items():
            bundle.writestr(name, data)
    return out.getvalue()


def tarred(form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as bundle:
        for name, data in [*MEMBERS.items(), ("d/" * 80 + "b.png", b"long")]:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            bundle.addfile(info, io.BytesIO(data))
    return out.getvalue()


def seven_zip() -> bytes:
    fields = struct.pack("<QQL", 4, 5, zlib.crc32(b"table"))
    return b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<L", zlib.crc32(fields)) + fields + b"datatable"


TARS = [tarred(form) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
ARCHIVES = {
    "a.zip": [
        zipped(method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    ],
    "a.tar": TARS,
    "a.tar.gz": [gzip.compress(tar) for tar in TARS],
    "a.tar.bz2": [bz2.compress(tar) for tar in TARS],
    "a.tar.xz": [lzma.compress(tar) for tar in TARS],
    "a.7z": [seven_zip()],
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(name, tmp_path):
    """A damaged archive is refused, or gives members with the bytes that they had; never fewer of them without a word.

    A zip's and a tar's headers have no checksum over everything, so a name or a time may change; the bytes of a zip's members and the headers of a tar may not.
    """
    whole = {data for member, data in MEMBERS.items() if not member.endswith("/")} | {b"long"}
    for which, data in rounds(
        ARCHIVES[name], 120, splice=False
    ):  # half of one and half of another may be a whole third
        Path(name).write_bytes(data)
        for work in (check_archives, lambda files: unpack_archives(files, Path("out"), ["**"])):
            try:
                work([Path(name)])
            except DataError as error:
                assert name in str(error), which
            except Exception as error:
                pytest.fail(f"{which}: {type(error).__name__}: {error}")
        found = [p for p in Path("out").rglob("*") if p.is_file()]
        if name.endswith(".zip"):
            assert all(p.read_bytes() in whole for p in found), which
        if found and name != "a.7z":
            hidden = sum(member.startswith(b".") for member in data.split(b"/")) + data.count(b"/.")
            assert len(found) >= 3 or hidden, f"{which}: {found}"
        assert {p.name for p in tmp_path.iterdir()} <= {name, "out"} and not list(tmp_path.parent.glob("*.png")), which
        shutil.rmtree("out", ignore_errors=True)


# ---------------------------------------------------------------- pictures


def pictures() -> dict[str, list[bytes]]:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)
    made: dict[str, list[bytes]] = {}
    for mode, form, options in (
        ("RGB", "PNG", {}), ("RGBA", "PNG", {}), ("P", "PNG", {}), ("1", "PNG", {}), ("RGB", "JPEG", {"quality": 90}), ("CMYK", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"}), ("RGB", "WEBP", {}),
        ("RGB", "TIFF", {"compression": "tiff_lzw"}), ("L", "TIFF", {"compression": "tiff_adobe_deflate"}), ("RGB", "TIFF", {}), ("RGB", "BMP", {}),
    ):  # fmt: skip
        out = io.BytesIO()
        Image.fromarray(noise[..., :4], "RGBA").convert("RGB" if mode == "CMYK" else mode).convert(mode).save(
            out, form, **options
        )
        made.setdefault(form, []).append(out.getvalue())
    return made


PICTURES = pictures()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", PICTURES)
def test_pictures(form, monkeypatch):
    """A damaged picture is refused by its name, or decoded to 8-bit RGB, within the memory that the limit of pixels stands for."""
    monkeypatch.setattr(limits, "MAX_PIXELS", MEMORY_BYTES // limits.BYTES_PER_PIXEL)
    for which, data in rounds(PICTURES[form], 150):
        try:
            picture = images.decode(data, "the picture")
        except images.PictureError as error:
            assert "the picture" in str(error), which
        except Exception as error:
            pytest.fail(f"{which}: {type(error).__name__}: {error}")
        else:
            assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3, which


# ---------------------------------------------------------------- HTTP

ANSWERS = [
    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: image/png\r\nETag: "a"\r\n\r\nhello',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 4\r\n\r\nbusy",
    b'HTTP/1.1 200 OK\r\nContent-Length: 45\r\nLink: <http://127.0.0.1:1/>; rel="next"\r\n\r\n[{"type": "file", "path": "a", "size": 1234}]',
]


def test_answers(tmp_path, monkeypatch):
    """Whatever a server answers, a fetch ends in a whole file or in a FetchError; nothing else is left but what can be resumed."""
    monkeypatch.setattr(transfer, "WAITS_S", (0,))
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)
    monkeypatch.setattr("mperceiver.fetch.base.TIMEOUT_S", (1, 1))
    answer = [b""]
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(5)
                    client.recv(65536)
                    client.sendall(answer[0])
                    client.shutdown(socket.SHUT_WR)
                    client.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    for number, (which, data) in enumerate(rounds(ANSWERS, 60)):
        answer[0] = data
        target = tmp_path / str(number) / "a"
        try:
            fetch(f"{url}/a", target, bytes=5 if number % 2 else None)
            with contextlib.suppress(hub.ListingError):
                hub.list_files("a/b", endpoint=url)
        except FetchError:
            assert not target.exists(), which
        except Exception as error:
            pytest.fail(f"{which}: {type(error).__name__}: {error}")
        probe(f"{url}/a")
        assert {p.name for p in target.parent.glob("*")} <= {"a", "a.part", "a.part.json"}, which
    listening.close()


# ---------------------------------------------------------------- weights, states, configuration


def test_weights():
    """Damaged weights are refused; what has the same header is another number only, and the digest in a card tells that."""
    module = nn.Linear(3, 2)
    sound = [save(dict(module.state_dict()), metadata={"config": "{}"})]
    for which, data in rounds(sound, 300):
        Path("w.safetensors").write_bytes(data)
        try:
            load_weights(Path("w.safetensors"), nn.Linear(3, 2))
        except (lineage.LineageError, ChecksumError) as error:
            assert "w.safetensors" in str(error), which
        except Exception as error:
            pytest.fail(f"{which}: {type(error).__name__}: {error}")


def test_states():
    """A damaged state of a training is known as such, or is the state that was written."""
    state = {"step": 3, "fingerprint": "f", "module": {"w": torch.arange(40.0)}, "list": [1, 2.5, "x"]}
    torch.save(state, "sound.pt")
    for which, data in rounds([Path("sound.pt").read_bytes()], 300):
        Path("s.pt").write_bytes(data)
        try:
            read = read_state(Path("s.pt"))
        except StateError:
            continue
        except Exception as error:
            pytest.fail(f"{which}: {type(error).__name__}: {error}")
        assert read["step"] == 3 and torch.equal(read["module"]["w"], state["module"]["w"]), which


def test_configuration():
    """A damaged file of config/ is read as something valid, or refused with its name."""
    files = [(kind, path) for kind in config.KINDS for path in sorted((PROJECT / "config" / kind).glob("*.yaml"))[:8]]
    for kind, of_kind in itertools.groupby(files, key=lambda pair: pair[0]):
        sound = [path.read_bytes() for _, path in of_kind] + [yaml.safe_dump({"like": "a", "x": [{}]}).encode()]
        for which, data in rounds(sound, 60):
            Path("odd.yaml").write_bytes(data)
            try:
                config.parse(Path("odd.yaml"), config.KINDS[kind])
            except ConfigError as error:
                assert ".yaml" in str(error), which
            except Exception as error:
                pytest.fail(f"{kind}, {which}: {type(error).__name__}: {error}")
