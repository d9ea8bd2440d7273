"""A Workflow Run RO-Crate (profile Provenance Run Crate 0.5) of an experiment: workflow, rules as steps, their runs as actions."""

import hashlib
import re
from pathlib import Path
from typing import Any

from mperceiver import __version__, commits, config, paths, shipped
from mperceiver.config.experiments import Experiment
from mperceiver.export.gather import EXPORTS, Gathered, credits, gather, needed
from mperceiver.export.private import cleaned, cleaned_data
from mperceiver.export.prov import document
from mperceiver.files import atomic_folder, sha256, write_text

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
APACHE = "https://spdx.org/licenses/Apache-2.0"
FILES = ("Snakefile", "uv.lock", "CITATION.cff", "LICENSE")


def write_crate(experiment: Path | str) -> Path:
    """Write results/export/<experiment>/crate/ and return it: cards, configuration, PROV-JSON and ro-crate-metadata.json.

    Heavy files (pictures, weights, pairs) are named with their SHA-256 and are not copied.

    Raises:
        ExportError: the extra `export` is not installed, or a card or a small file is not what the cards say. LineageError: the
        experiment's report was not made yet.
    """
    path = Path(experiment)
    title, report = config.parse(path, Experiment).title, paths.report_card(path.stem)
    gathered = gather([report, *(str(entry) for entry in config.report_inputs(path)[1:])])
    target = EXPORTS / path.stem / "crate"
    with atomic_folder(target) as folder:
        fill_crate(folder, title, gathered, str(path), str(report))
    return target


def fill_crate(folder: Path, title: str, gathered: Gathered, experiment: str, result: str) -> None:
    """Write a crate into an empty folder.

    Args:
        folder: where.
        title: what was run, in a line.
        gathered: the cards.
        experiment: the configuration file that says what was wanted, the run's input.
        result: the card of what came out.

    Raises ExportError if the extra `export` is not installed.
    """
    needed("rocrate")
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")

    def add(place: str, /, **properties: Any) -> Any:
        known = crate.dereference(place)
        return known or crate.add(ContextEntity(crate, place, properties=cleaned_data(properties)))

    def reference(*entities: Any) -> list[dict[str, str]]:
        return [{"@id": entity.id} for entity in entities]

    def add_file(path: str, kind: Any = "File", **properties: Any) -> Any:
        """A small text file, which goes into the crate, cleaned."""
        if known := crate.dereference(path):
            return known
        source = Path(path) if Path(path).is_file() else shipped.PACKAGE.parent / path
        text = cleaned(source.read_text(encoding="utf-8"))
        beside = folder / path
        write_text(beside, text)
        described = {"@type": kind, "name": path, "sha256": sha256(source), "contentSize": str(len(text.encode()))}
        return crate.add_file(str(beside), path, properties=cleaned_data(described | properties))

    people = _people()
    authors = [add(f"#{_slug(person)}", **{"@type": "Person", "name": person}) for person in people["authors"]]
    maintainers = add("#maintainers", **{"@type": "Organization", "name": people["software"]})
    paper = add(
        "https://arxiv.org/abs/2312.02918",
        **{"@type": "ScholarlyArticle", "name": people["paper"], "author": reference(*authors)},
    )
    licence = add(APACHE, **{"@type": "CreativeWork", "name": "Apache License 2.0", "url": APACHE})
    profiles = [
        add(url, **{"@type": "CreativeWork", "name": name, "version": url.rpartition("/")[2]})
        for url, name in PROFILES.items()
    ]
    language = add(
        SNAKEMAKE,
        **{
            "@type": "ComputerLanguage",
            "name": "Snakemake",
            "identifier": "https://snakemake.github.io",
            "url": "https://snakemake.github.io",
        },
    )
    engine = add(
        "#snakemake",
        **{
            "@type": "SoftwareApplication",
            "name": "Snakemake",
            "url": "https://snakemake.github.io",
            "softwareVersion": _version("snakemake"),
        },
    )
    add_file(
        "uv.lock",
        description="The environment: every package with its version and digests",
        encodingFormat="application/toml",
    )

    rules = list(dict.fromkeys(card["verb"] for card in reversed(gathered.cards.values())))
    tools, steps = {}, {}
    for position, rule in enumerate(rules, 1):
        tools[rule] = add(
            f"#tool-{rule}",
            **{
                "@type": "SoftwareApplication",
                "name": f"mperceiver {rule}",
                "softwareVersion": __version__,
                "softwareRequirements": {"@id": "uv.lock"},
            },
        )
        steps[rule] = add(
            f"#step-{rule}",
            **{"@type": "HowToStep", "name": rule, "position": str(position), "workExample": reference(tools[rule])},
        )
    workflow = add_file("Snakefile", ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"])
    formal_in = add(
        "#input-experiment",
        **{
            "@type": "FormalParameter",
            "additionalType": "File",
            "name": "experiment",
            "workExample": {"@id": experiment},
            "conformsTo": {"@id": "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"},
        },
    )
    formal_out = add(
        "#output-report",
        **{
            "@type": "FormalParameter",
            "additionalType": "File",
            "name": "tables",
            "workExample": {"@id": result},
            "conformsTo": {"@id": "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"},
        },
    )
    for key, value in {
        "name": f"MPerceiver: {title}",
        "programmingLanguage": reference(language),
        "license": reference(licence),
        "author": reference(maintainers),
        "step": reference(*steps.values()),
        "hasPart": reference(*tools.values()),
        "input": reference(formal_in),
        "output": reference(formal_out),
    }.items():
        workflow[key] = value
    crate.mainEntity = workflow

    actions = []
    controls = []
    for name, card in reversed(gathered.cards.items()):
        entity = add_file(name, about=card["verb"], encodingFormat="application/json")
        objects = [_file(add, gathered, entry, digest) for entry, digest in card["inputs"].items()]
        results = [_file(add, gathered, entry, digest) for entry, digest in card["outputs"].items()]
        action = add(
            f"#run-{_slug(name)}",
            **{
                "@type": "CreateAction",
                "name": f"{card['verb']} → {name}",
                "instrument": reference(tools[card["verb"]]),
                "object": [{"@id": identifier} for identifier in objects],
                "result": [*reference(entity), *({"@id": identifier} for identifier in results)],
                "actionStatus": "http://schema.org/CompletedActionStatus",
                "description": f"commit {card['commit']}{', with uncommitted changes' if card['dirty'] else ''}; "
                f"code {card['code']}; seed {card['seed']}; device {card['device']}",
            },
        )
        actions.append(action)
        controls.append(
            add(
                f"#control-{_slug(name)}",
                **{
                    "@type": "ControlAction",
                    "name": f"orchestrate {card['verb']}",
                    "instrument": reference(steps[card["verb"]]),
                    "object": reference(action),
                },
            )
        )
    for file in gathered.configuration:
        add_file(file, encodingFormat="application/yaml" if file.endswith(".yaml") else "text/csv")
    experiment_file = add_file(experiment, encodingFormat="application/yaml", exampleOfWork=reference(formal_in))
    report = crate.dereference(result)
    report["exampleOfWork"] = reference(formal_out)
    whole = add(
        "#run",
        **{
            "@type": "CreateAction",
            "name": f"Run of {experiment}",
            "instrument": reference(workflow),
            "object": reference(experiment_file),
            "result": reference(report),
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
    )
    add(
        "#engine-run",
        **{
            "@type": "OrganizeAction",
            "name": "Run of Snakemake",
            "instrument": reference(engine),
            "object": reference(*controls),
            "result": reference(whole),
        },
    )

    for credit in credits(gathered):
        add(
            f"#{credit['kind']}-{credit['name']}",
            **{
                "@type": "CreativeWork",
                "name": credit["title"],
                "license": credit["licence"],
                "citation": credit["citation"] or "none given",
            },
        )
    write_text(folder / "prov.json", document(gathered))
    crate.add_file(
        str(folder / "prov.json"),
        "prov.json",
        properties={"name": "The same in PROV-JSON", "encodingFormat": "application/json"},
    )
    crate.name = f"Run of MPerceiver: {title}"
    crate.description = "Every output of the experiment with what it was made from, by SHA-256; made from the cards that the pipeline writes"
    crate.license = licence
    root = crate.root_dataset
    root["conformsTo"] = reference(*profiles)
    root["author"] = reference(maintainers)
    root["citation"] = reference(paper)
    root["mentions"] = reference(whole, *actions)
    # One and the same crate for one and the same run: the date is that of the newest card's commit, as git tells it.
    root["datePublished"] = commits.date(next(iter(gathered.cards.values()))["commit"]) or "1970-01-01"
    crate.write(str(folder))


def _file(add: Any, gathered: Gathered, name: str, digest: str) -> str:
    """The @id of a file that an action read or made; heavy ones are described and not copied."""
    if name in gathered.cards or name in gathered.configuration:
        return name
    identifier = "#file-" + _slug(cleaned(name)) if "#" not in name else "#part-" + _slug(name)
    add(identifier, **{"@type": "CreativeWork", "name": name, "sha256": digest})
    return identifier


def _people() -> dict[str, Any]:
    """Authors of the paper and of the software, from CITATION.cff."""
    citation = config.read_yaml(shipped.PACKAGE.parent / "CITATION.cff")
    paper = citation["preferred-citation"]
    return {
        "software": citation["authors"][0]["name"],
        "paper": " ".join(paper["title"].split()),
        "authors": [f"{person['given-names']} {person['family-names']}" for person in paper["authors"]],
    }


def _slug(text: str) -> str:
    """A fragment of an address: letters, digits and hyphens, with a few letters of a digest where others were replaced."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-")
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _version(package: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(package)
