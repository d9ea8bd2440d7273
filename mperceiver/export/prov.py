"""PROV-JSON (W3C) of cards: files as entities by SHA-256, jobs as activities, the code as their agent."""

import hashlib
from typing import Any

from mperceiver.export.gather import Gathered, needed
from mperceiver.export.private import cleaned
from mperceiver.files import sha256


def document(gathered: Gathered) -> str:
    """The text of a PROV-JSON document. Raises ExportError if the extra `export` is not installed."""
    needed("prov")
    from prov.model import ProvDocument

    provenance = ProvDocument()
    provenance.add_namespace("file", "urn:mperceiver:file:")
    provenance.add_namespace("job", "urn:mperceiver:job:")
    provenance.add_namespace("code", "urn:mperceiver:code:")
    provenance.add_namespace("mp", "urn:mperceiver:")
    entities: dict[str, Any] = {}
    agents: dict[str, Any] = {}

    def entity(name: str, digest: str) -> Any:
        """One state of a file: its name and its digest together."""
        key = f"{name}@{digest}"
        if key not in entities:
            identifier = f"file:{hashlib.sha256(key.encode()).hexdigest()[:24]}"
            entities[key] = provenance.entity(identifier, {"mp:path": cleaned(name), "mp:sha256": digest})
        return entities[key]

    for name, card in gathered.cards.items():
        code = card["code"]
        if code not in agents:
            attributes = {
                "prov:type": "prov:SoftwareAgent",
                "mp:commit": card["commit"],
                "mp:dirty": bool(card["dirty"]),
            }
            agents[code] = provenance.agent(f"code:{code[:24]}", attributes)
        job = provenance.activity(
            f"job:{hashlib.sha256(name.encode()).hexdigest()[:24]}",
            other_attributes={
                "mp:verb": card["verb"],
                "mp:card": name,
                "mp:device": cleaned(str(card["device"])),
                "mp:seed": str(card["seed"]),
            },
        )
        provenance.wasAssociatedWith(job, agents[code])
        for entry, digest in card["inputs"].items():
            provenance.used(job, entity(entry, digest))
        for entry, digest in [*card["outputs"].items(), (name, sha256(name))]:
            provenance.wasGeneratedBy(entity(entry, digest), job)
    return str(provenance.serialize(format="json", indent=1))
