"""Where the frozen weights of a foundation lie, and what their card says of them. Nothing here imports torch."""

from pathlib import Path
from typing import NamedTuple

from mperceiver import config, paths, shipped
from mperceiver.files import staged_again, verify_checksums
from mperceiver.lineage import read_card
from mperceiver.printing import say


class StagedFoundation(NamedTuple):
    """The files of a foundation: those in data/foundations/, or, where it is not staged, those that ship."""

    name: str
    folder: Path
    digests: dict[str, str] | None  # {path inside the folder: SHA-256}; None without a card
    remedy: str  # what a person does about a file that was changed

    @property
    def command(self) -> str:
        """The command that stages it."""
        return f"mperceiver foundation {self.name}"

    def verify(self) -> None:
        """Compare the files with the digests; a line on standard error says so where there is no card. Raises ChecksumError."""
        if self.digests is None:
            card = paths.foundation_card(self.name)
            say(
                f"{self.folder}: no card ({card}), so nothing vouches for these weights; stage them: {self.command}",
                error=True,
            )
        else:
            verify_checksums(self.folder, self.digests, self.remedy)


def staged(name: str) -> StagedFoundation:
    """The foundation config/foundations/<name>.yaml, whether or not its folder is there.

    Raises ConfigError, LineageError: its file in config/ has faults, or its card is damaged.
    """
    folder, local = paths.foundation_folder(name), config.load("foundations", name).local
    if local is not None and not folder.exists() and (shipped.find(local) / shipped.CARD).is_file():
        digests = read_card(shipped.find(local) / shipped.CARD)["outputs"]
        return StagedFoundation(name, shipped.find(local), digests, "install the package again")
    card, digests = paths.foundation_card(name), None
    if card.is_file():
        digests = {path: file["sha256"] for path, file in read_card(card)["result"].get("files", {}).items()}
    return StagedFoundation(name, folder, digests, staged_again(f"mperceiver foundation {name}"))
