"""`sources` of a dataset: where its pictures or archives come from, one model a kind.

What a file is called decides where it is written, so names are checked here once: relative, without `..`, hidden parts or
signs that some file system refuses. URLs are http or https.
"""

import re
from fnmatch import fnmatchcase
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, model_validator

from mperceiver.config.base import Model, Name, Positive, Sha256, Url

PART = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]+")
GLOB_PART = re.compile(r"[^\x00-\x1f\x7f/\\:\"<>|]+")


def file_path(value: str, part: re.Pattern = PART) -> str:
    """A path that stays where it is put. Raises ValueError."""
    for piece in value.split("/"):
        if not part.fullmatch(piece) or piece.startswith(".") or piece.strip(" ").rstrip(".") != piece:
            raise ValueError(
                f"not a safe relative path ({piece!r}): no '..', no hidden part, no sign of \\ : * ? \" < > |"
            )
        if len(piece.encode()) > 200:
            raise ValueError("a part of the path is longer than 200 bytes")
    return value


def _glob(value: str) -> str:
    return file_path(value, GLOB_PART)


FilePath = Annotated[str, AfterValidator(file_path)]
Glob = Annotated[str, AfterValidator(_glob)]
Repository = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
DriveId = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{10,}$")]


KNOWN = "SHA-256, where known; else the one of the first download is kept in the card and held to ever after"


class HttpFile(Model):
    """A file behind a plain URL."""

    url: Url = Field(description="http or https, without login")
    name: FilePath | None = Field(None, description="its name in data/raw/<dataset>/; none: the last part of the URL")
    sha256: Sha256 | None = Field(None, description=KNOWN)
    bytes: Positive | None = Field(None, description="size, where known")

    @model_validator(mode="after")
    def _named(self):
        file_path(self.filename)
        return self

    @property
    def filename(self) -> str:
        return self.name or unquote(urlsplit(self.url).path).rpartition("/")[2]


class DriveFile(Model):
    """A file on Google Drive that anyone with its link may read."""

    id: DriveId = Field(description="the part of the link behind /d/ or id=")
    name: FilePath = Field(description="its name in data/raw/<dataset>/")
    sha256: Sha256 | None = Field(None, description=KNOWN)
    bytes: Positive | None = Field(None, description="size, where known")


class ManualFile(Model):
    """A file that a person has to bring."""

    name: FilePath = Field(description="its name in data/manual/<dataset>/ and in data/raw/<dataset>/")
    sha256: Sha256 | None = Field(None, description=KNOWN)
    bytes: Positive | None = Field(None, description="size, where known")


class PackageSource(Model):
    """Pictures that ship inside an installed Python package."""

    source: Literal["package"] = Field(description="this kind of source")
    package: str = Field(description="import name of the package")
    files: dict[str, str] = Field(
        description="picture id: path inside the package, or other_package:path for one inside another package"
    )
    sha256: dict[str, Sha256] = Field(default_factory=dict, description="picture id: SHA-256 of the file")


class GeneratedSource(Model):
    """Pictures drawn by a seeded generator."""

    source: Literal["generated"] = Field(description="this kind of source")
    generator: Name = Field(description="a key of GENERATORS in mperceiver/data/raw/generated.py")
    count: Positive = Field(description="number of pictures")
    size_px: Positive = Field(description="side of each, which is square")


class LocalSource(Model):
    """A folder: absolute, or looked for inside each folder of the `mirror` setting."""

    source: Literal["local"] = Field(description="this kind of source")
    folder: str = Field(description="an absolute path, or one inside a mirror folder")
    glob: str = Field("*", description="pictures inside the folder")
    sha256: Sha256 | None = Field(
        None, description="SHA-256 over the lines '<sha256>  <basename>' of the folder's pictures, sorted by basename"
    )


class HttpSource(Model):
    """Files behind plain URLs."""

    source: Literal["http"] = Field(description="this kind of source")
    files: list[HttpFile] = Field(min_length=1, description="all of them are taken")

    @model_validator(mode="after")
    def _apart(self):
        return _no_name_twice(self, [file.filename for file in self.files])


class HuggingfaceSource(Model):
    """Files of a repository on the Hugging Face hub (or at $HF_ENDPOINT)."""

    source: Literal["huggingface"] = Field(description="this kind of source")
    repo: Repository = Field(description="owner/name")
    revision: str = Field(
        "main", pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", description="commit (or a branch that may move)"
    )
    repo_type: Literal["dataset", "model"] = Field("dataset", description="what kind of repository it is")
    root: FilePath | None = Field(None, description="folder in the repository; files keep their paths below it")
    files: list[Glob] = Field(["**"], min_length=1, description="globs below `root`; `**` goes through folders")
    count: Positive | None = Field(None, description="how many files they must find")
    sha256: dict[FilePath, Sha256] = Field(default_factory=dict, description="path below `root`: SHA-256")


class GithubSource(Model):
    """Files of a GitHub repository at a commit, or the whole of it as an archive."""

    source: Literal["github"] = Field(description="this kind of source")
    repo: Repository = Field(description="owner/name")
    commit: Commit = Field(description="all forty digits; branches move")
    root: FilePath | None = Field(None, description="folder in the repository; files keep their paths below it")
    files: list[Glob] = Field(
        default_factory=list, description="globs below `root`; none: the repository as one archive, <name>-<commit>.zip"
    )
    lfs: bool = Field(False, description="its files are kept by git-lfs, so they come from another host")
    count: Positive | None = Field(None, description="how many files they must find")
    sha256: dict[FilePath, Sha256] = Field(default_factory=dict, description="path below `root`: SHA-256")


class GdriveSource(Model):
    """Files on Google Drive, or all files of a folder there."""

    source: Literal["gdrive"] = Field(description="this kind of source")
    files: list[DriveFile] = Field(default_factory=list, description="files by their ids")
    folder: DriveId | None = Field(None, description="instead of `files`: id of a folder")
    wanted: list[Glob] = Field(["**"], min_length=1, description="globs of the files wanted of the folder")
    count: Positive | None = Field(None, description="how many files they must find: Drive cuts long listings short")
    sha256: dict[FilePath, Sha256] = Field(default_factory=dict, description="path below the folder: SHA-256")

    @model_validator(mode="after")
    def _one_form(self):
        if bool(self.files) == bool(self.folder):
            raise ValueError("give either `files` or `folder`")
        return _no_name_twice(self, [file.name for file in self.files])


class ManualSource(Model):
    """Files that a person has to bring: behind a login, a form, or a client of their own."""

    source: Literal["manual"] = Field(description="this kind of source")
    page: Url = Field(description="where to get them")
    terms: str = Field(description="what one agrees to by that")
    how: str = Field("", description="what else to know, e.g. the code of a shared link")
    files: list[ManualFile] = Field(
        min_length=1, description="looked for in data/manual/<dataset>/, then in the mirrors"
    )

    @model_validator(mode="after")
    def _apart(self):
        return _no_name_twice(self, [file.name for file in self.files])


def _no_name_twice(model, names: list[str]):
    """Names differ even where a file system does not tell capitals from small letters."""
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise ValueError(f"two files are named {name}")
        seen.add(name.casefold())
    return model


def matches(path: str, globs: list[str]) -> bool:
    """Whether a path fits one of the globs: `*` within a part, `**` over any number of parts (none included)."""
    return any(_fits(path.split("/"), glob.split("/")) for glob in globs)


def _fits(parts: list[str], glob: list[str]) -> bool:
    if not glob:
        return not parts
    if glob[0] == "**":
        return any(_fits(parts[i:], glob[1:]) for i in range(len(parts) + 1)) if glob[1:] else bool(parts)
    return bool(parts) and fnmatchcase(parts[0], glob[0]) and _fits(parts[1:], glob[1:])


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
