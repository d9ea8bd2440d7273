"""Whether what a job reads is still what its card says: prepared pairs, cached latents, and pictures that another program restored."""

from collections.abc import Iterable
from pathlib import Path

from mperceiver import paths
from mperceiver.files import ChecksumError, sha256, verify_checksums
from mperceiver.lineage import read_card


def check_unchanged(inputs: Iterable[str]) -> None:
    """Check the files beside those of a job's inputs that are cards of prepared pairs, of latents, or of what a program restored.

    A file is hashed when its size or time differs from when it was last hashed (.hashed.json beside it), so a dataset is read
    once more after it was made, not at each start. A folder of pictures is hashed each time: it is read as a whole.

    Raises:
        LineageError: an input is no card. ChecksumError: a file or folder was changed after its card was written, or is missing.
    """
    for name in inputs:
        card = Path(name)
        if not card.is_file():  # the code that reads the data says what is missing
            continue
        if card.suffix == ".json" and card.is_relative_to(paths.PREPARED):
            again = f"mperceiver prepare {card.stem}"
        elif card.suffix == ".json" and card.is_relative_to(paths.LATENTS):
            again = f"mperceiver encode {card.parent.name} {card.stem}"
        elif card.suffix == ".json" and card.is_relative_to(paths.COMMANDED):
            _check_folder(card)
            continue
        else:
            continue
        outputs = {Path(file): digest for file, digest in read_card(card)["outputs"].items()}
        beside = {file.name: digest for file, digest in outputs.items() if file.parent == card.parent}
        verify_checksums(card.parent, beside, f"it was changed after it was made. Make it again: {again}")


def _check_folder(card: Path) -> None:
    folder, again = card.with_suffix(""), f"mperceiver command {card.parent.name} {card.stem}"
    recorded, actual = read_card(card)["outputs"].get(str(folder)), sha256(folder) if folder.is_dir() else None
    if actual != recorded:
        state = f"its SHA-256 is {actual}, {card} says {recorded}" if actual else "no such folder"
        raise ChecksumError(f"{folder}: {state}; it was changed after it was made. Make it again: {again}")
