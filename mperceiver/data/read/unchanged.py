"""Whether what a job reads is still what its card says: prepared pairs and cached latents are large, and are read row by row."""

from collections.abc import Iterable
from pathlib import Path

from mperceiver import paths
from mperceiver.files import verify_checksums
from mperceiver.lineage import read_card


def check_unchanged(inputs: Iterable[str]) -> None:
    """Check the files beside those of a job's inputs that are cards of prepared pairs or of latents.

    A file is hashed when its size or time differs from when it was last hashed (.hashed.json beside it), so a dataset is read
    once more after it was made, not at each start.

    Raises:
        LineageError: an input is no card. ChecksumError: a file was changed after its card was written, or is missing.
    """
    for name in inputs:
        card = Path(name)
        if not card.is_file():  # the code that reads the data says what is missing
            continue
        if card.suffix == ".json" and card.is_relative_to(paths.PREPARED):
            again = f"mperceiver prepare {card.stem}"
        elif card.suffix == ".json" and card.is_relative_to(paths.LATENTS):
            again = f"mperceiver encode {card.parent.name} {card.stem}"
        else:
            continue
        outputs = {Path(file): digest for file, digest in read_card(card)["outputs"].items()}
        beside = {file.name: digest for file, digest in outputs.items() if file.parent == card.parent}
        verify_checksums(card.parent, beside, f"it was changed after it was made. Make it again: {again}")
