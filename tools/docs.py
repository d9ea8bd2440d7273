"""Write every generated page and picture: `make docs`. A test compares each with its file, so none can grow old unseen."""

from collections.abc import Callable
from pathlib import Path

from mperceiver import files
from tools import architecture, config_reference, datasets_page, draw_pipeline, dvc_stages, performance_page

PROJECT = Path(__file__).resolve().parents[1]

# The file, and the function that gives its whole text. They read config/ and the workflow, so they run at the project's root.
PAGES: dict[str, Callable[[], str]] = {
    "ARCHITECTURE.md": architecture.page,
    "config/README.md": config_reference.page,
    "dvc.yaml": dvc_stages.page,
    "docs/datasets.md": datasets_page.page,
    "docs/performance.md": performance_page.page,
    "docs/pipeline.svg": draw_pipeline.page,
}


def main() -> None:
    """Write the pages that differ from what they are generated from, and say which they are."""
    for name, page in PAGES.items():
        text, path = page(), PROJECT / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            print(f"{name}: up to date")
        else:
            files.write_text(path, text)
            print(f"{name}: written")


if __name__ == "__main__":
    main()
