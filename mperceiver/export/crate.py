"""A Workflow Run RO-Crate (profile Provenance Run Crate 0.5) of an experiment: workflow, rules as steps, their runs as actions."""

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mperceiver import __version__, commits, config, lineage, paths, shipped
from mperceiver.config.experiments import Experiment
from mperceiver.export.gather import Gathered, credits, gather, needed
from mperceiver.export.private import cleaned, cleaned_data
from mperceiver.export.prov import document
from mperceiver.files import atomic_folder, sha256, write_text

if TYPE_CHECKING:
    from rocrate.model.entity import Entity

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
SNAKEMAKE = "https://snakemake.github.io"
SNAKEMAKE_LANGUAGE = (
    "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"  # the @id that the last profile asks for
)
APACHE = "https://spdx.org/licenses/Apache-2.0"
PAPER = "https://arxiv.org/abs/2312.02918"
FORMAL_PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
COMPLETED = "http://schema.org/CompletedActionStatus"


def write_crate(experiment: Path | str) -> Path:
    """Write results/export/<experiment>/crate/ and return it: cards, configuration, PROV-JSON and ro-crate-metadata.json.

    Heavy files (pictures, weights, pairs) are named with their SHA-256 and are not copied.

    Raises:
        ExportError: the extra `export` is not installed, or a card or a small file is not what the cards say. LineageError: the
        experiment's report was not made yet.
    """
    path = Path(experiment)
    title, report = config.parse(path, Experiment).title, paths.report_card(path.stem)
    cards = [str(entry) for entry in config.report_inputs(path) if not isinstance(entry, lineage.Part)]
    gathered = gather([report, *cards])
    target = paths.crate_folder(path.stem)
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
    crate, title = Crate(folder, gathered), cleaned(title)
    maintainers, paper = crate.people()
    licence, profiles = crate.terms()
    language, engine = crate.environment()
    workflow = crate.workflow(title, experiment, result, language, licence, maintainers)
    actions, controls = crate.actions(workflow)
    run = crate.run(experiment, result, workflow, engine, controls)
    crate.datasets_and_foundations()
    crate.prov()
    crate.root(title, licence, conformsTo=profiles, author=[maintainers], citation=[paper], mentions=[run, *actions])
    crate.write()


class Workflow(NamedTuple):
    """The workflow and its parts, as its runs refer to them."""

    file: "Entity"
    tools: "dict[str, Entity]"  # {rule: the command that it calls}
    steps: "dict[str, Entity]"  # {rule: its place in the workflow}
    given: "Entity"  # the parameter for what it is given, an experiment or a table
    made: "Entity"  # the parameter for what it makes


class Crate:
    """A crate that is being filled. Its metadata lists the things in the order in which they were added."""

    def __init__(self, folder: Path, gathered: Gathered) -> None:
        """An empty crate; ``folder``: an empty one too. Raises ExportError if the extra `export` is not installed."""
        needed("rocrate")
        from rocrate.rocrate import ROCrate

        self.folder, self.gathered, self.ro_crate = folder, gathered, ROCrate(version="1.1")
        self.configuration = gathered.configuration  # which is found anew at each look

    # ---------------------------------------------------------------- any thing

    def add(self, place: str, kind: str, /, **properties: Any) -> "Entity":
        """The thing with the @id ``place``; one that is not there yet is added, of the @type ``kind``, its texts cleaned."""
        if known := self.ro_crate.dereference(place):
            return known
        return self.ro_crate.add_jsonld({"@id": place, "@type": kind} | cleaned_data(properties))

    def add_file(self, path: str, kind: str | list[str] = "File", /, **properties: Any) -> "Entity":
        """A small text file; one that is not there yet is copied into the crate, cleaned."""
        if known := self.ro_crate.dereference(path):
            return known
        source = Path(path) if Path(path).is_file() else shipped.PACKAGE.parent / path
        text = cleaned(source.read_text(encoding="utf-8"))
        beside = self.folder / path
        write_text(beside, text)
        described = {"@type": kind, "name": path, "sha256": sha256(source), "contentSize": str(len(text.encode()))}
        return self.ro_crate.add_file(str(beside), path, properties=cleaned_data(described | properties))

    def add_named(self, name: str, digest: str) -> dict[str, str]:
        """The reference to a file that an action read or made; heavy ones are described and not copied."""
        if name in self.gathered.cards or name in self.configuration:
            return {"@id": name}
        place = "#file-" + _slug(cleaned(name)) if "#" not in name else "#part-" + _slug(name)
        self.add(place, "CreativeWork", name=name, sha256=digest)
        return {"@id": place}

    @staticmethod
    def reference(*entities: "Entity") -> list[dict[str, str]]:
        """What other things have in their metadata in place of these."""
        return [{"@id": entity.id} for entity in entities]

    # ---------------------------------------------------------------- who made it, and on what terms

    def people(self) -> "tuple[Entity, Entity]":
        """The authors of the software, and the paper with its own; from CITATION.cff."""
        citation = config.read_yaml(shipped.PACKAGE.parent / "CITATION.cff")
        preferred = citation["preferred-citation"]
        names = [f"{person['given-names']} {person['family-names']}" for person in preferred["authors"]]
        authors = [self.add(f"#{_slug(name)}", "Person", name=name) for name in names]
        maintainers = self.add("#maintainers", "Organization", name=citation["authors"][0]["name"])
        title = " ".join(preferred["title"].split())
        return maintainers, self.add(PAPER, "ScholarlyArticle", name=title, author=self.reference(*authors))

    def terms(self) -> "tuple[Entity, list[Entity]]":
        """The licence, and the profiles that the crate keeps to."""
        licence = self.add(APACHE, "CreativeWork", name="Apache License 2.0", url=APACHE)
        return licence, [
            self.add(url, "CreativeWork", name=name, version=url.rpartition("/")[2]) for url, name in PROFILES.items()
        ]

    def datasets_and_foundations(self) -> None:
        """All that were used, each with its licence and citation."""
        for credit in credits(self.gathered):
            self.add(
                f"#{credit['kind']}-{credit['name']}",
                "CreativeWork",
                name=credit["title"],
                license=credit["licence"],
                citation=credit["citation"] or "none given",
            )

    # ---------------------------------------------------------------- the workflow

    def environment(self) -> "tuple[Entity, Entity]":
        """The workflow's language, the program that runs it, and the packages; returned are the first two."""
        language = self.add(
            SNAKEMAKE_LANGUAGE, "ComputerLanguage", name="Snakemake", identifier=SNAKEMAKE, url=SNAKEMAKE
        )
        engine = self.add(
            "#snakemake",
            "SoftwareApplication",
            name="Snakemake",
            url=SNAKEMAKE,
            softwareVersion=_version("snakemake"),
        )
        packages = "The environment: every package with its version and digests"
        self.add_file("uv.lock", description=packages, encodingFormat="application/toml")
        return language, engine

    def workflow(
        self, title: str, experiment: str, result: str, language: "Entity", licence: "Entity", maintainers: "Entity"
    ) -> Workflow:
        """The workflow: its rules as steps, what it is given and what it makes. The first three: see ``fill_crate``."""
        tools, steps = {}, {}
        rules = dict.fromkeys(card["verb"] for card in reversed(self.gathered.cards.values()))
        for position, rule in enumerate(rules, 1):
            tools[rule] = self.add(
                f"#tool-{rule}",
                "SoftwareApplication",
                name=f"mperceiver {rule}",
                softwareVersion=__version__,
                softwareRequirements={"@id": "uv.lock"},
            )
            steps[rule] = self.add(
                f"#step-{rule}",
                "HowToStep",
                name=rule,
                position=str(position),
                workExample=self.reference(tools[rule]),
            )
        file = self.add_file("Snakefile", ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"])
        given = self.parameter("#input-experiment", "experiment", experiment)
        made = self.parameter("#output-report", "tables", result)
        file["name"] = f"MPerceiver: {title}"
        file["programmingLanguage"] = self.reference(language)
        file["license"] = self.reference(licence)
        file["author"] = self.reference(maintainers)
        file["step"] = self.reference(*steps.values())
        file["hasPart"] = self.reference(*tools.values())
        file["input"] = self.reference(given)
        file["output"] = self.reference(made)
        self.ro_crate.mainEntity = file
        return Workflow(file, tools, steps, given, made)

    def parameter(self, place: str, name: str, example: str) -> "Entity":
        """A file that the workflow is given or makes; ``example``: the one of this run."""
        return self.add(
            place,
            "FormalParameter",
            additionalType="File",
            name=name,
            workExample={"@id": example},
            conformsTo={"@id": FORMAL_PARAMETER},
        )

    # ---------------------------------------------------------------- what was run

    def actions(self, workflow: Workflow) -> "tuple[list[Entity], list[Entity]]":
        """The run of a rule for each card, the card a file of the crate; and for each run that Snakemake started it."""
        actions, controls = [], []
        for name, card in reversed(self.gathered.cards.items()):
            file = self.add_file(name, about=card["verb"], encodingFormat="application/json")
            action = self.add(
                f"#run-{_slug(name)}",
                "CreateAction",
                name=f"{card['verb']} → {name}",
                instrument=self.reference(workflow.tools[card["verb"]]),
                object=[self.add_named(*entry) for entry in card["inputs"].items()],
                result=[*self.reference(file), *(self.add_named(*entry) for entry in card["outputs"].items())],
                actionStatus=COMPLETED,
                description=f"commit {card['commit']}{', with uncommitted changes' if card['dirty'] else ''}; "
                f"code {card['code']}; seed {card['seed']}; device {card['device']}",
            )
            actions.append(action)
            controls.append(
                self.add(
                    f"#control-{_slug(name)}",
                    "ControlAction",
                    name=f"orchestrate {card['verb']}",
                    instrument=self.reference(workflow.steps[card["verb"]]),
                    object=self.reference(action),
                )
            )
        return actions, controls

    def run(
        self, experiment: str, result: str, workflow: Workflow, engine: "Entity", controls: "list[Entity]"
    ) -> "Entity":
        """The run of the whole workflow, which is returned, with the configuration that it read; and the run of Snakemake."""
        for file in self.configuration:
            self.add_file(file, encodingFormat="application/yaml" if file.endswith(".yaml") else "text/csv")
        given = self.add_file(
            experiment, encodingFormat="application/yaml", exampleOfWork=self.reference(workflow.given)
        )
        made = self.ro_crate.dereference(result)
        made["exampleOfWork"] = self.reference(workflow.made)
        run = self.add(
            "#run",
            "CreateAction",
            name=f"Run of {experiment}",
            instrument=self.reference(workflow.file),
            object=self.reference(given),
            result=self.reference(made),
            actionStatus=COMPLETED,
        )
        self.add(
            "#engine-run",
            "OrganizeAction",
            name="Run of Snakemake",
            instrument=self.reference(engine),
            object=self.reference(*controls),
            result=self.reference(run),
        )
        return run

    # ---------------------------------------------------------------- the crate itself

    def prov(self) -> None:
        """The cards in PROV-JSON, a file of the crate."""
        path = self.folder / "prov.json"
        write_text(path, document(self.gathered))
        described = {"name": "The same in PROV-JSON", "encodingFormat": "application/json"}
        self.ro_crate.add_file(str(path), path.name, properties=described)

    def root(self, title: str, licence: "Entity", **references: "list[Entity]") -> None:
        """What the crate as a whole is, to which things it refers by which properties, and of when it is."""
        self.ro_crate.name = f"Run of MPerceiver: {title}"
        self.ro_crate.description = "Every output of the experiment with what it was made from, by SHA-256; made from the cards that the pipeline writes"
        self.ro_crate.license = licence
        root = self.ro_crate.root_dataset
        for key, entities in references.items():
            root[key] = self.reference(*entities)
        # One and the same crate for one and the same run: the date is that of the newest card's commit, as git tells it.
        newest = next(iter(self.gathered.cards.values()))
        root["datePublished"] = commits.date(newest["commit"]) or "1970-01-01"

    def write(self) -> None:
        """Write ro-crate-metadata.json, the files being in the folder."""
        self.ro_crate.write(str(self.folder))


def _slug(text: str) -> str:
    """A fragment of an address: letters, digits and hyphens, with a few letters of a digest where others were replaced."""
    plain = re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-")
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _version(package: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(package)
