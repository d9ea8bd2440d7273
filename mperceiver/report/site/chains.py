"""The chain of cards below a score: a page of its own, to which the pages of all its cells lead."""

import html
import json

from markupsafe import Markup

from mperceiver import lineage, paths
from mperceiver.files import sha256
from mperceiver.report.site.folder import SiteFolder

SHOWN = ("verb", "commit", "dirty", "code", "seed", "device", "inputs", "outputs")


class Chains:
    """Chains of cards. Each is read once, and has one page, since all tasks of a dataset share it."""

    def __init__(self, site: SiteFolder) -> None:
        self.site = site
        self._known: dict[tuple[str, str], tuple[str, list[dict]]] = {}

    def below(self, method: str, dataset: str) -> tuple[str, list[dict]]:
        """(page, the cards that the scores of a method on a dataset depend on, nearest first); the cards are copied into the site.

        Raises LineageError for a broken one.
        """
        if (method, dataset) not in self._known:
            cards = lineage.chain(paths.scores_card(method, dataset))
            entries = [self._entry(path, card) for path, card in cards.items()]
            page = f"chains/{method}/{dataset}.html"
            self.site.page(page, "chain.html.j2", method=method, dataset=dataset, chain=entries)
            self._known[method, dataset] = page, entries
        return self._known[method, dataset]

    def _entry(self, path: str, card: dict) -> dict:
        return {
            "path": path,
            "file": self.site.copy(path),
            "sha256": sha256(path),
            "spec": Markup(html.escape(json.dumps(card["spec"], indent=1, ensure_ascii=False), quote=False)),
            "sources": [(name, digest) for name, digest in card["inputs"].items() if ":" in name],
            **{key: card[key] for key in SHOWN},
        }
