"""The chain of cards below a score, as a cell's page shows it."""

import json

from mperceiver import lineage
from mperceiver.files import sha256
from mperceiver.report.site.folder import SiteFolder

SHOWN = ("verb", "commit", "dirty", "code", "seed", "device", "inputs", "outputs")


class Chains:
    """Chains of cards. Each is read once, since all tasks of a dataset share it."""

    def __init__(self, site: SiteFolder) -> None:
        self.site = site
        self._known: dict[str, list[dict]] = {}

    def below(self, score_card: str) -> list[dict]:
        """The cards that a score stands on, nearest first, each copied into the site. Raises LineageError for a broken one."""
        if score_card not in self._known:
            cards = lineage.chain(score_card)
            self._known[score_card] = [self._entry(path, card) for path, card in cards.items()]
        return self._known[score_card]

    def _entry(self, path: str, card: dict) -> dict:
        return {
            "path": path,
            "file": self.site.copy(path),
            "sha256": sha256(path),
            "spec": json.dumps(card["spec"], indent=1, ensure_ascii=False),
            "sources": [(name, digest) for name, digest in card["inputs"].items() if ":" in name],
            **{key: card[key] for key in SHOWN},
        }
