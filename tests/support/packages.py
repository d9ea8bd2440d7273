"""Archives of Python packages, and a package index on loopback that has them."""

import hashlib
import io
import json
import tarfile
import zipfile

from support.serving import Server


def wheel(files: dict[str, bytes]) -> bytes:
    """A wheel's bytes: files by their paths."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for path, body in files.items():
            opened.writestr(path, body)
    return buffer.getvalue()


def sdist(folder: str, files: dict[str, bytes]) -> bytes:
    """A source archive's bytes: files by their paths below ``folder``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
        for path, body in files.items():
            member = tarfile.TarInfo(f"{folder}/{path}")
            member.size = len(body)
            opened.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def index_package(server: Server, package: str, filename: str, body: bytes) -> None:
    """Serve an archive at /archives/, and list it at /simple/ beside what is listed of the package already."""
    page = f"/simple/{package}/"
    listed = json.loads(server.files[page].body)["files"] if page in server.files else []
    url = server.put(f"/archives/{filename}", body)
    listed.append({"filename": filename, "url": url, "hashes": {"sha256": hashlib.sha256(body).hexdigest()}})
    answer = {"meta": {"api-version": "1.0"}, "name": package, "files": listed}
    server.put(page, json.dumps(answer).encode(), kind="application/vnd.pypi.simple.v1+json")
