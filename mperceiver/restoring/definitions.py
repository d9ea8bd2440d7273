"""What a restored photograph depends on beside the photograph: a method's settings, and the weights that it restores with."""

import hashlib
import json
from pathlib import Path

from mperceiver import config
from mperceiver.config.methods import Method
from mperceiver.config.outside_inputs import module_inputs
from mperceiver.config.parts import NOT_READ, part_of
from mperceiver.files import known_sha256
from mperceiver.lineage import read_card
from mperceiver.models.staged import staged


def definition(method: str, spec: Method) -> str:
    """SHA-256 of the settings in ``spec``, of those in the files of its runs and its foundation, and of the digests of its weights.

    Digests are those in the cards; only files without a card are hashed. Missing weights count as None; loading them raises the error.
    `memory_gib` is left out: it only bounds the tiles, as the free memory does, which differs from call to call.

    Raises ConfigError, LineageError: a file in config/ has faults, or a card is damaged.
    """
    not_read = NOT_READ["methods", "restore"] | {"memory_gib"}
    foundation, weights = config.method_foundation(method), config.method_weights(method)
    runs = {run for run in (spec.run, spec.predictor, *weights.values()) if run}
    parts = {
        "settings": spec.model_dump(mode="json", by_alias=True, exclude=not_read, exclude_defaults=True),
        "runs": {run: part_of("runs", run, "restore").digest for run in runs},
        "foundation": foundation and [part_of("foundations", foundation, "restore").digest, staged(foundation).digests],
        "weights": {stage: _of_weights(file) for stage, file in config.weights_files(method).items()},
        "module": {file: _of_file(Path(file)) for file in module_inputs(method)},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _of_weights(file: Path) -> str | None:
    card = file.with_suffix(".json")
    if not card.is_file():
        return _of_file(file)
    return {Path(output).name: digest for output, digest in read_card(card)["outputs"].items()}.get(file.name)


def _of_file(file: Path) -> str | None:
    return known_sha256(file) if file.exists() else None
