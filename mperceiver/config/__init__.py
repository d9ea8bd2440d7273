"""Every kind of YAML file under ``config/`` as a typed model.

A name in a path is the stem of a file here: ``results/scores/demo/demo-mid6.csv`` exists because there are
``config/methods/demo.yaml`` and ``config/datasets/demo-mid6.yaml``. Only this package reads YAML, and it imports no torch,
since Snakemake imports it at each start and in each cluster job. Unknown keys are refused; an error names the file and the
key. Any file may say `like: NAME`: it then takes every key it does not give from the file of that name beside it.

The functions are named here; a model is imported from the module of its kind (`from mperceiver.config.runs import Run`).
"""

from mperceiver.config.base import METRIC_FOUNDATIONS, NAME, STAGES, TASKS, ConfigError, lpips_foundation
from mperceiver.config.checks import REPORTED
from mperceiver.config.depends import (
    download_inputs,
    encode_inputs,
    foundation_inputs,
    members,
    method_foundation,
    method_weights,
    metric_foundations,
    origins,
    pictures_of,
    prepare_inputs,
    restore_inputs,
    score_inputs,
    stage_inputs,
    stage_processes,
    training_cards,
    trainings,
    weights_cards,
    weights_files,
    weights_of,
)
from mperceiver.config.experiments import experiment_of_workflow
from mperceiver.config.files import (
    KINDS,
    check_name,
    files_of,
    load,
    mirrors,
    names,
    or_shipped,
    parse,
    parse_text,
    path_of,
    read_yaml,
    with_options,
)
from mperceiver.config.graph import JOBS, benchmark_of, cards_here, check, files_of_inputs, inputs_of, job_of
from mperceiver.config.learned import is_prepared, learned_from
from mperceiver.config.outside_inputs import command_inputs, covers, manifest, results_folder
from mperceiver.config.parts import WORDS, digest_of_label, experiment_part, read_part
from mperceiver.config.reported import Number, reported_names, reported_numbers
from mperceiver.config.shown import (
    REFERENCES,
    cells,
    cost_sizes,
    figure_inputs,
    is_beside,
    measure_inputs,
    references,
    report_inputs,
    table_inputs,
)
from mperceiver.config.uptodate import Change, changes, settle
