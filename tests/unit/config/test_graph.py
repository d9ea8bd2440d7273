"""The jobs of the workflow: which rule writes a card, from which names, and what is advised where it is missing."""

from pathlib import Path

import pytest

from mperceiver import config, paths


def test_every_job_says_its_inputs_and_every_folder_of_cards_its_rule():
    assert config.JOBS.keys() == paths.CARDS.keys()
    assert all(job.records[0] in config.KINDS for job in config.JOBS.values())


@pytest.mark.parametrize("folder", paths.CARDS, ids=str)
def test_a_card_tells_its_job_and_the_command_that_makes_it(folder):
    rule, count, by_verb = paths.CARDS[folder]
    names = ("some", "drm")[:count]
    card = f"{folder.joinpath(*names)}.json"
    assert config.job_of(card) == ((rule, names) if rule else ("train_drm", ("some",)))
    command = paths.command_for(card)
    assert command == f"mperceiver {rule} some" if by_verb else command.endswith(card)
    assert paths.folder_of(card) == folder and paths.folder_of(folder) is None
    assert paths.command_for(folder) is None and config.inputs_of(str(folder)) == []


def test_other_files_are_of_no_job():
    for path in ("results/logs/x.log", "data/manual/rain/set.zip", "elsewhere/a.json"):
        assert config.inputs_of(path) == []
        with pytest.raises(KeyError, match=path):
            config.job_of(path)
    assert config.job_of("results/report/demo.json") == ("report", ("demo",))


def test_the_experiment_of_the_workflow_is_told_inside_it_alone(monkeypatch):
    monkeypatch.delenv("MPERCEIVER_EXPERIMENT", raising=False)
    assert config.experiment_of_workflow() is None
    monkeypatch.setenv("MPERCEIVER_EXPERIMENT", "config/paper.yaml")
    assert config.experiment_of_workflow() == Path("config/paper.yaml")
