"""Croissant (MLCommons) of a prepared dataset: its file by SHA-256, licence, citation, and a record a picture."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mperceiver import __version__, commits, config, lineage, paths
from mperceiver.data.read.loader import PreparedDataset
from mperceiver.data.read.unchanged import check_unchanged
from mperceiver.export.gather import ExportError, needed
from mperceiver.export.private import cleaned_data
from mperceiver.files import write_text

if TYPE_CHECKING:
    from mlcroissant import Metadata

FIELDS = {
    "id": "The picture's name",
    "task": "The kind of degradation",
    "recipe": "How it was degraded, as JSON; empty if it was not degraded here",
}


def write_croissant(dataset: str) -> Path:
    """Write results/export/croissant/<dataset>.json and return it, after mlcroissant has loaded what it will hold.

    Raises:
        ConfigError: no such dataset. LineageError: it is not prepared. ChecksumError: the prepared file is not what its card says.
        ExportError: the extra `export` is not installed, or mlcroissant finds the description not valid; no file is written.
    """
    needed("mlcroissant")
    import mlcroissant

    check_unchanged([str(paths.prepared_card(dataset))])
    target = paths.croissant_file(dataset)
    try:
        text = json.dumps(cleaned_data(_metadata(dataset).to_json()), indent=1, default=str)
        mlcroissant.Dataset(jsonld=json.loads(text))
    except mlcroissant.ValidationError as error:
        raise ExportError(
            f"{target} is not written, for mlcroissant finds the description of {dataset} not valid: {error}. Look at its title, "
            f"licence, page and citation in {config.path_of('datasets', dataset)}, and in those of the sets that it is made from"
        ) from error
    write_text(target, text + "\n")
    return target


def _metadata(dataset: str) -> "Metadata":
    """The description of a prepared dataset."""
    import mlcroissant

    spec = config.load("datasets", dataset)
    card = lineage.read_card(paths.prepared_card(dataset))
    file = paths.prepared_file(dataset)
    prepared = PreparedDataset(dataset)
    recipes = [
        json.dumps(prepared.recipe(i), sort_keys=True) if prepared.recipe(i) else "" for i in range(len(prepared))
    ]
    records = [
        {"pictures/id": name, "pictures/task": task, "pictures/recipe": recipe}
        for name, task, recipe in zip(prepared.ids, prepared.tasks, recipes, strict=True)
    ]
    sources = [config.load("datasets", origin) for origin in config.origins(dataset)]
    citations = dict.fromkeys(source.citation for source in [spec, *sources] if source.citation)
    return mlcroissant.Metadata(
        name=dataset,
        description=f"{spec.title}. Made from: {', '.join(config.origins(dataset))}. Commit {card['commit']}, code {card['code']}",
        license=list(dict.fromkeys([spec.licence, *(source.licence for source in sources)])),
        cite_as="; ".join(citations) or None,
        date_published=commits.date(card["commit"]),
        url=spec.page or next((source.page for source in sources if source.page), "https://arxiv.org/abs/2312.02918"),
        version=f"{__version__}+{card['code'][:12]}",
        distribution=[
            mlcroissant.FileObject(
                id="pairs",
                name="pairs",
                description="One Arrow file: id, task, lq and gt (encoded pictures), source, recipe",
                content_url=str(file),
                encoding_formats=["application/vnd.apache.arrow.file"],
                content_size=f"{file.stat().st_size} B",
                sha256=card["outputs"][str(file)],
            )
        ],
        record_sets=[
            mlcroissant.RecordSet(
                id="pictures",
                name="pictures",
                description="A record a picture",
                fields=[
                    mlcroissant.Field(
                        id=f"pictures/{name}", name=name, description=text, data_types=mlcroissant.DataType.TEXT
                    )
                    for name, text in FIELDS.items()
                ],
                data=records,
            )
        ],
    )
