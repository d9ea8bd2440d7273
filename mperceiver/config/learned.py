"""What a method was trained on, and which of that can be compared with a test set in this working directory."""

from pathlib import Path

from mperceiver import paths
from mperceiver.config.base import NAME
from mperceiver.config.depends import method_weights, stage_inputs, unique, weights_cards, weights_of
from mperceiver.config.files import load, path_of
from mperceiver.config.outside_inputs import trained_on
from mperceiver.config.parts import part_of


def learned_from(method: str) -> list[str]:
    """The datasets that a method's weights were trained on, those of the runs that its runs started from among them.

    A method that was not trained here may name what is no file of config/datasets/.
    """
    return _learned_from(method, _trainers(method))


def is_prepared(dataset: str) -> bool:
    """Whether config/datasets/ has a dataset whose pairs are in the working directory, with their card."""
    if not NAME.fullmatch(dataset) or not path_of("datasets", dataset).is_file():
        return False
    return paths.prepared_card(dataset).is_file() and paths.prepared_file(dataset).is_file()


def compared_inputs(method: str, datasets: list[str]) -> list[str]:
    """What tells which pictures of some datasets a method was also trained on; none for a method without training.

    These are the keys of its runs that name training sets, and the cards of prepared pairs. The pairs of a training set can be large,
    and weights that ship, or that `dvc pull` brought, are scored without them. So a card counts only if its pairs are here, or if
    Snakemake makes them on its way to scores that are missing: then the inputs are the same before that work and after it.
    """
    runs = _trainers(method)
    learned = _learned_from(method, runs)
    if not learned:
        return []
    cards = {name: str(paths.prepared_card(name)) for name in (*datasets, *learned)}
    unscored = [name for name in datasets if not paths.scores_card(method, name).is_file()]
    coming = {cards[name] for name in unscored}
    if not all(paths.restored_card(method, name).is_file() for name in unscored):
        coming |= _prepared_for_training(method)
    return [
        *(part_of("runs", run, "table") for run in runs),
        *(card for name, card in cards.items() if card in coming or is_prepared(name)),
    ]


def _learned_from(method: str, runs: list[str]) -> list[str]:
    return unique([*trained_on(method), *(dataset for run in runs for dataset in load("runs", run).train)])


def _trainers(method: str) -> list[str]:
    """The runs that trained a method's weights, and those that they started from."""
    runs = unique(method_weights(method).values())
    for run in runs:  # grows as it is read
        start = load("runs", run).start_from
        runs += [other for other in unique(weights_of(start).values() if start else ()) if other not in runs]
    return runs


def _prepared_for_training(method: str) -> set[str]:
    """The cards of prepared pairs that Snakemake needs for those of a method's weights that are missing, and for what they start from."""
    cards = weights_cards(method)
    for card in cards:  # grows as it is read
        if paths.folder_of(card) == paths.RUNS and not Path(card).is_file():
            run, stage = Path(card).parent.name, Path(card).stem
            cards += [str(entry) for entry in stage_inputs(run, stage) if str(entry) not in cards]
    return {card for card in cards if paths.folder_of(card) == paths.PREPARED}
