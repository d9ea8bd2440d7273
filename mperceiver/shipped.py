"""What ships with the package: the folders config/ and assets/, at a checkout's root, or in a wheel inside the package."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CARD = "card.json"  # beside weights that this project made: how they were made
IN_WHEEL = "shipped_files"  # folder of the package; pyproject.toml puts config/ and assets/ into it


def root() -> Path:
    """The folder with the shipped config/ and assets/."""
    inside = PACKAGE / IN_WHEEL
    return inside if inside.is_dir() else PACKAGE.parent


def find(path: Path | str) -> Path:
    """A file or folder relative to the working directory if it is there, else the shipped one; absolute paths stay."""
    here = Path(path).expanduser()
    return here if here.exists() else root() / here
