"""`sources` of a dataset: where its pictures or archives come from, one model for each kind of source.

A file's name decides where it is written, so names are checked here: they are relative, without `..`, hidden parts or
characters that some file system refuses. URLs are http or https.
"""

import re
from fnmatch import fnmatchcase
from typing import Annotated, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, model_validator

from mperceiver.config.base import Model, Name, Positive, Sha256, Url

PART = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]+")  # a part of a path
GLOB_PART = re.compile(r"[^\x00-\x1f\x7f/\\:\"<>|]+")
MAX_PART_BYTES = 200

AnyModel = TypeVar("AnyModel", bound=Model)


def file_path(value: str, part: re.Pattern[str] = PART) -> str:
    """Check that a relative path cannot lead out of its folder, and return it. Raises ValueError.

    ``part`` matches each of the parts between slashes.
    """
    for piece in value.split("/"):
        if not part.fullmatch(piece) or piece.startswith(".") or piece.strip(" ").rstrip(".") != piece:
            raise ValueError(
                f"not a safe relative path ({piece!r}): no '..', no hidden part, none of the characters \\ : * ? \" < > |"
            )
        if len(piece.encode()) > MAX_PART_BYTES:
            raise ValueError(f"a part of the path is longer than {MAX_PART_BYTES} bytes")
    return value


def _check_glob(value: str) -> str:
    if value.startswith("/"):
        raise ValueError("a glob is relative to the folder, without a slash at its start")
    if piece := next((piece for piece in value.split("/") if "**" in piece and piece != "**"), None):
        raise ValueError(
            f"`**` is a whole part of a path, between slashes, not a piece of one ({piece}); for all files of a form: **/*.png"
        )
    return file_path(value, GLOB_PART)


def _check_encoding(value: str) -> str:
    try:
        known = "a/b.png".encode(value) == b"a/b.png"
    except (LookupError, UnicodeError, TypeError):
        known = False
    if not known:
        raise ValueError(f"{value!r} is no encoding of the names in an archive (gbk, big5, shift_jis, cp1252, …)")
    return value


Encoding = Annotated[str, AfterValidator(_check_encoding)]
FilePath = Annotated[str, AfterValidator(file_path)]
Glob = Annotated[str, AfterValidator(_check_glob)]
Repository = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
DriveId = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{10,}$")]


CHECKSUM = (
    "SHA-256, if known; if not, that of the first download is kept in the card, and later downloads must equal it"
)
KIND = "the kind of source"


class HttpFile(Model):
    """A file at a URL."""

    url: Url = Field(description="http or https URL that needs no login")
    name: FilePath | None = Field(
        None, description="name of the file in data/raw/<dataset>/; none: the last part of the URL"
    )
    sha256: Sha256 | None = Field(None, description=CHECKSUM)
    bytes: Positive | None = Field(None, description="size, if known")

    @model_validator(mode="after")
    def _check_name(self) -> "HttpFile":
        file_path(self.filename)
        return self

    @property
    def filename(self) -> str:
        """Name of the file in data/raw/<dataset>/."""
        return self.name or unquote(urlsplit(self.url).path).rpartition("/")[2]


class DriveFile(Model):
    """A file on Google Drive that anyone with its link may read."""

    id: DriveId = Field(description="part of the link after /d/ or id=")
    name: FilePath = Field(description="name of the file in data/raw/<dataset>/")
    sha256: Sha256 | None = Field(None, description=CHECKSUM)
    bytes: Positive | None = Field(None, description="size, if known")


class ManualFile(Model):
    """A file that a person has to download."""

    name: FilePath = Field(description="name of the file in data/manual/<dataset>/ and in data/raw/<dataset>/")
    sha256: Sha256 | None = Field(None, description=CHECKSUM)
    bytes: Positive | None = Field(None, description="size, if known")


class PackageSource(Model):
    """Pictures that are part of an installed Python package."""

    source: Literal["package"] = Field(description=KIND)
    package: str = Field(description="import name of the package")
    files: dict[str, str] = Field(
        description="picture id: path inside the package, or other_package:path for a path inside another package"
    )
    sha256: dict[str, Sha256] = Field(default_factory=dict, description="picture id: SHA-256 of the file")


class GeneratedSource(Model):
    """Pictures drawn by a seeded generator."""

    source: Literal["generated"] = Field(description=KIND)
    generator: Name = Field(description="key of GENERATORS in mperceiver/data/raw/generated.py")
    count: Positive = Field(description="number of pictures")
    size_px: Positive = Field(description="side of a picture, which is square")


class LocalSource(Model):
    """A folder on this machine: of pictures, or with `keep_folders` of anything that ready-made pairs are found in."""

    source: Literal["local"] = Field(description=KIND)
    folder: str = Field(description="absolute path of the folder, or its path inside one of the `mirror` folders")
    glob: Glob | None = Field(
        None,
        description="files inside the folder; none: its pictures, or with `keep_folders` all files below it",
    )
    keep_folders: bool = Field(
        False,
        description="true: files keep their paths below the folder, so that `input/0.png` and `target/0.png` are two files; "
        "archives and lists are copied too",
    )
    sha256: Sha256 | None = Field(
        None,
        description="SHA-256 over the lines '<sha256>  <basename>' of the folder's pictures, sorted by basename; with "
        "`keep_folders` of all files, '<sha256>  <path below the folder>', sorted by path",
    )


class HttpSource(Model):
    """Files at URLs."""

    source: Literal["http"] = Field(description=KIND)
    files: list[HttpFile] = Field(min_length=1, description="the files, all of them needed")

    @model_validator(mode="after")
    def _check_names(self) -> "HttpSource":
        return _no_name_twice(self, [file.filename for file in self.files])


class HuggingfaceSource(Model):
    """Files of a repository on the Hugging Face hub (or the hub at $HF_ENDPOINT)."""

    source: Literal["huggingface"] = Field(description=KIND)
    repo: Repository = Field(description="owner/name of the repository")
    revision: str = Field(
        "main",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
        description="commit, or a branch, whose files may change",
    )
    repo_type: Literal["dataset", "model"] = Field("dataset", description="type of the repository")
    root: FilePath | None = Field(None, description="folder in the repository; files keep their paths below it")
    files: list[Glob] = Field(["**"], min_length=1, description="globs of the files below `root`")
    count: Positive | None = Field(None, description="exact number of files that the globs match")
    sha256: dict[FilePath, Sha256] = Field(default_factory=dict, description="path below `root`: SHA-256")


class GithubSource(Model):
    """Files of a GitHub repository at a commit, or all of it as one archive."""

    source: Literal["github"] = Field(description=KIND)
    repo: Repository = Field(description="owner/name of the repository")
    commit: Commit = Field(description="commit, all forty digits")
    root: FilePath | None = Field(None, description="folder in the repository; files keep their paths below it")
    files: list[Glob] = Field(
        default_factory=list,
        description="globs of the files below `root`; none: the repository as one archive, <name>-<commit>.zip",
    )
    lfs: bool = Field(
        False, description="true: the files are stored with git-lfs and come from GitHub's host for these"
    )
    count: Positive | None = Field(None, description="exact number of files that the globs match")
    sha256: dict[FilePath, Sha256] = Field(default_factory=dict, description="path below `root`: SHA-256")


class GdriveSource(Model):
    """Files on Google Drive, or the files of a folder there."""

    source: Literal["gdrive"] = Field(description=KIND)
    files: list[DriveFile] = Field(default_factory=list, description="the files, all of them needed")
    folder: DriveId | None = Field(None, description="in place of `files`: id of a folder")
    wanted: list[Glob] = Field(["**"], min_length=1, description="globs of the folder's files to download")
    count: Positive | None = Field(
        None, description="exact number of files that the globs match; Google Drive truncates long listings"
    )
    sha256: dict[FilePath, Sha256] = Field(default_factory=dict, description="path below the folder: SHA-256")

    @model_validator(mode="after")
    def _check_form(self) -> "GdriveSource":
        if bool(self.files) == bool(self.folder):
            raise ValueError("give either `files` or `folder`")
        return _no_name_twice(self, [file.name for file in self.files])


class ManualSource(Model):
    """Files that a person has to download: behind a login or a form, or with a special client."""

    source: Literal["manual"] = Field(description=KIND)
    page: Url = Field(description="page with the files")
    terms: str = Field(description="terms that one accepts by downloading them")
    how: str = Field("", description="further instructions, e.g. the code of a shared link")
    files: list[ManualFile] = Field(
        min_length=1, description="the files; searched for in data/manual/<dataset>/, then in the mirror folders"
    )

    @model_validator(mode="after")
    def _check_names(self) -> "ManualSource":
        return _no_name_twice(self, [file.name for file in self.files])


def _no_name_twice(model: AnyModel, names: list[str]) -> AnyModel:
    """Check that names differ, also on a file system that ignores case."""
    folded: set[str] = set()
    for name in names:
        if name.casefold() in folded:
            raise ValueError(f"two files are named {name}")
        folded.add(name.casefold())
    return model


def matches(path: str, globs: list[str]) -> bool:
    """Whether a path matches one of the globs: `*` within a part of it, `**` over any number of parts, or none."""
    return any(_matches(path.split("/"), glob.split("/")) for glob in globs)


def _matches(parts: list[str], glob: list[str]) -> bool:
    if not glob:
        return not parts
    if glob[0] == "**":
        return any(_matches(parts[i:], glob[1:]) for i in range(len(parts) + 1)) if glob[1:] else bool(parts)
    return bool(parts) and fnmatchcase(parts[0], glob[0]) and _matches(parts[1:], glob[1:])


Source = Annotated[
    PackageSource
    | GeneratedSource
    | LocalSource
    | HttpSource
    | HuggingfaceSource
    | GithubSource
    | GdriveSource
    | ManualSource,
    Field(discriminator="source"),
]
