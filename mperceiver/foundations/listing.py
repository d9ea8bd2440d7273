"""Which files a foundation consists of, what is known of each, and where each may come from."""

from dataclasses import dataclass, field
from pathlib import Path

from mperceiver import config, lineage, paths, shipped
from mperceiver.config.foundations import WEIGHTS, Foundation, Mirror
from mperceiver.printing import say

FIRST_STAGING = "the first staging"


@dataclass
class WantedFile:
    """A file to stage."""

    path: str  # inside the foundation's folder
    source: str  # path in the mirrors
    sha256: str | None = None
    bytes: int | None = None
    stated_by: str = ""  # who states the SHA-256: a file of config/, FIRST_STAGING, or the card beside the weights
    mirrors: list[Mirror] = field(default_factory=list)


@dataclass
class Staging:
    """One staging of a foundation."""

    name: str
    spec: Foundation
    earlier: dict[str, dict]  # path -> {"sha256", "bytes", "from"} of an earlier staging
    failed: set[str] = field(default_factory=set)  # mirrors that did not give a file; from then on they are asked last

    @property
    def folder(self) -> Path:
        """Where the staged files go."""
        return paths.foundation_folder(self.name)

    @property
    def partial(self) -> Path:
        """Where files wait until all of them are there."""
        return self.folder.with_name(f".{self.name}.part")

    @property
    def archives(self) -> Path:
        """Archives of packages from which files are extracted; removed once all files are there."""
        return self.folder.with_name(f".{self.name}.archives")

    @property
    def local(self) -> Path | None:
        """The `local` folder, if the foundation names one: in the working directory, or else in the project."""
        return shipped.find(self.spec.local) if self.spec.local else None


def wanted_files(staging: Staging) -> list[WantedFile]:
    """The files of a foundation: those that its `parts` name, or else those of its `local` folder.

    Raises ConfigError if it names neither, LineageError if the folder is missing or its card names unsafe files.
    """
    if not staging.spec.parts:
        return _files_of_local(staging)
    files = []
    for part in staging.spec.parts:
        for path, file in part.files.items():
            first = staging.earlier.get(path, {}).get("sha256")
            stated_by = str(config.path_of("foundations", staging.name)) if file.sha256 else FIRST_STAGING
            digest = file.sha256 or first
            files.append(WantedFile(path, file.from_ or path, digest, file.bytes, stated_by, part.mirrors))
    return files


def _files_of_local(staging: Staging) -> list[WantedFile]:
    """The files of a foundation that consists of a folder: those that the folder's card names, or without a card all weights."""
    name, spec, local = staging.name, staging.spec, staging.local
    if local is None:
        raise config.ConfigError(
            f"{config.path_of('foundations', name)}: neither `local` nor `parts`, so no place to take weights from"
        )
    if not local.is_dir():
        hint = f"; make it with: mperceiver foundation {name} --build" if spec.build else ""
        raise lineage.LineageError(f"{spec.local}: no such folder with weights of foundation {name}{hint}")
    if not (local / shipped.CARD).is_file():
        return [WantedFile(path, path) for path in _weights_in(local)]
    digests = lineage.read_card(local / shipped.CARD)["outputs"]
    for path in map(Path, digests):
        if path.is_absolute() or ".." in path.parts or path.suffix not in WEIGHTS:
            raise lineage.LineageError(
                f"{local / shipped.CARD}: {path}: only {' and '.join(WEIGHTS)} inside its folder are taken"
            )
    files = [WantedFile(path, path, digest, None, "its card") for path, digest in digests.items()]
    return [*files, WantedFile(shipped.CARD, shipped.CARD)]


def _weights_in(folder: Path) -> list[str]:
    """Paths of the weights and JSON files in a folder, hidden ones left out. Other files are named on standard error."""
    inside = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    visible = [path for path in inside if not any(part.startswith(".") for part in path.parts)]
    if others := [str(path) for path in visible if path.suffix not in WEIGHTS]:
        accepted = " and ".join(WEIGHTS)
        say(f"{folder}: passed over {', '.join(others)}: only {accepted} are taken", error=True)
    return [path.as_posix() for path in visible if path.suffix in WEIGHTS]
