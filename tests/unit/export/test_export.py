"""Crate, PROV, Croissant and bundle of a small tree of results: valid, complete, and without anything private."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import reports
from support.once import built_once

from mperceiver import commits, config, files, lineage
from mperceiver.export import bundle, crate, croissant, private
from mperceiver.export.gather import ExportError
from mperceiver.report import site, tables

SECRETS = {
    "token": "hf_plantedTokenOfSomebody1",
    "host": "planted-host-17",
    "user": "plantedanna",
    "path": "/home/plantedanna/private/pictures",
    "other path": "D:\\planted\\folder",
    "value": "planted-secret-value",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    def build(root: Path) -> None:
        root.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            patch.setattr(commits, "current", lambda: reports.COMMIT)
            reports.build_world()
            experiment = Path("config/toy.yaml")
            text = experiment.read_text(encoding="utf-8")
            experiment.write_text(
                text.replace("figures:\n- side-by-side\n- bars\n- curves", "figures: []"), encoding="utf-8"
            )
            tables.write("toys")
            site.write(experiment)

    return built_once(tmp_path_factory, "exported", build)


@pytest.fixture
def tree(built, tmp_path, monkeypatch):
    """A copy of the small tree of results, with a table and the site of it."""
    root = Path(shutil.copytree(built, tmp_path / "tree"))
    monkeypatch.chdir(root)
    monkeypatch.setattr(commits, "current", lambda: reports.COMMIT)
    return root


@pytest.fixture
def planted(tree, monkeypatch):
    """The tree with secrets in titles, licences, captions, in a card and in the environment."""
    monkeypatch.setenv("PLANTED_API_TOKEN", SECRETS["value"])
    for key in ("USER", "LOGNAME"):
        monkeypatch.setenv(key, SECRETS["user"])
    monkeypatch.setattr("socket.gethostname", lambda: f"{SECRETS['host']}.example.org")
    path = Path("config/datasets/clean.yaml")
    text = path.read_text(encoding="utf-8").replace(
        "licence: none", f"licence: see {SECRETS['path']} and {SECRETS['token']}"
    )
    path.write_text(
        text + f"# by {SECRETS['user']} on {SECRETS['host']} in {SECRETS['other path']}\n", encoding="utf-8"
    )
    path = Path("config/tables/toys.yaml")
    text = path.read_text(encoding="utf-8").replace(
        "A caption", f"{SECRETS['value']}, from {SECRETS['path']}/x.csv. A caption"
    )
    path.write_text(text, encoding="utf-8")
    tables.write("toys")
    card = Path("results/scores/one/toys.json")
    found = json.loads(card.read_text(encoding="utf-8"))
    found["device"] = f"GPU of {SECRETS['host']}"
    card.write_text(json.dumps(found), encoding="utf-8")
    record_again("results/tables/toys.json")
    tables.write("toys")
    site.write("config/toy.yaml")
    return tree


def record_again(root: str) -> None:
    """Bring the digests in the cards below a card up to date, as if everything had been made from what is here now."""
    is_old = True
    while is_old:
        is_old = False
        for name, card in lineage.chain(root).items():
            now = {
                role: {file: digest_now(file, was) for file, was in card[role].items()}
                for role in ("inputs", "outputs")
            }
            if now != {role: card[role] for role in now}:
                is_old = True
                files.write_json(name, card | now)


def digest_now(file: str, was: str) -> str:
    if ":" in file:
        return was
    return config.digest_of_label(file) or was if "#" in file else files.sha256(file)


def validated(folder: Path, monkeypatch) -> list[str]:
    """What roc-validator says against a crate, by the profile's requirements; the context is that of the library rocrate."""
    import rdflib.plugins.shared.jsonld.context as contexts
    import requests_cache
    import rocrate
    from rocrate_validator import models, services

    text = (Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_text(encoding="utf-8")
    context = json.loads(text)
    # The library has the context of RO-Crate 1.3, where these two have other addresses than in 1.1.
    parts = context["@context"] if isinstance(context["@context"], list) else [context["@context"]]
    for name in ("ComputationalWorkflow", "FormalParameter"):
        next(part for part in parts if isinstance(part, dict))[name] = f"https://bioschemas.org/{name}"

    class Answer:
        status_code, ok, url = 200, True, ""
        content, headers = text.encode(), {"Content-Type": "application/ld+json"}

        def json(self):
            return context

        def raise_for_status(self):
            pass

    def request(self, method, url, **options):
        assert url == "https://w3id.org/ro/crate/1.1/context", url
        return Answer()

    monkeypatch.setattr(contexts, "source_to_json", lambda url, *rest, **options: (context, None))
    monkeypatch.setattr(requests_cache.CachedSession, "request", request)
    monkeypatch.setattr("requests.Session.request", request)
    settings = services.ValidationSettings(
        rocrate_uri=str(folder),
        profile_identifier="provenance-run-crate-0.5",
        requirement_severity=models.Severity.REQUIRED,
    )
    return [f"{issue.violatingEntity}: {issue.message}" for issue in services.validate(settings).get_issues()]


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)
def test_the_crate_is_a_provenance_run_crate(tree, monkeypatch):
    folder = crate.write_crate("config/toy.yaml")
    graph = {
        entity["@id"]: entity
        for entity in json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))["@graph"]
    }
    actions = [entity for entity in graph.values() if entity["@type"] == "CreateAction"]
    cards = list(lineage.chain("results/report/toy.json"))
    assert len(actions) == len(cards) + 1, "a run of a rule for each card, and the run of the workflow"
    restored = next(entity for entity in actions if entity["name"] == "restore → results/restored/one/toys.json")
    read = {graph[of["@id"]].get("sha256") for of in restored["object"]}
    assert files.sha256("results/runs/one/network.json") in read and restored["instrument"] in (
        {"@id": "#tool-restore"},
        [{"@id": "#tool-restore"}],
    )
    assert graph["#dataset-clean"]["license"] == "none"
    assert graph["results/tables/toys.json"]["sha256"] == files.sha256("results/tables/toys.json")
    assert any(entity.get("name") == "Huaibo Huang" for entity in graph.values())
    assert validated(folder, monkeypatch) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_prov_is_read_back(tree):
    from prov.model import ProvActivity, ProvDocument, ProvUsage

    text = (crate.write_crate("config/toy.yaml") / "prov.json").read_text(encoding="utf-8")
    document = ProvDocument.deserialize(content=text, format="json")
    chain = lineage.chain("results/report/toy.json")
    assert len(list(document.get_records(ProvActivity))) == len(chain)
    assert len(list(document.get_records(ProvUsage))) == sum(len(card["inputs"]) for card in chain.values())


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning", "ignore::SyntaxWarning"
)
def test_croissant_is_read_back(tree):
    import mlcroissant

    path = croissant.write_croissant("toys")
    dataset = mlcroissant.Dataset(jsonld=json.loads(path.read_text(encoding="utf-8")))
    records = list(dataset.records("pictures"))
    assert [record["pictures/id"] for record in records] == ["haze-0", "haze-1", "rain-0", "rain-1"]
    (file,) = dataset.metadata.distribution
    assert file.sha256 == files.sha256("data/prepared/toys.arrow")


def test_an_invalid_croissant_is_not_written(tree, monkeypatch):
    import mlcroissant

    def refuse(jsonld):
        raise mlcroissant.ValidationError("not valid")

    monkeypatch.setattr(mlcroissant, "Dataset", refuse)
    with pytest.raises(
        ExportError, match=r"toys.json is not written.*not valid\. Look at its title.*config/datasets/toys.yaml"
    ):
        croissant.write_croissant("toys")
    assert not Path("results/export").exists()


def test_a_changed_prepared_file_has_no_croissant(tree):
    prepared = Path("data/prepared/toys.arrow")
    prepared.write_bytes(prepared.read_bytes() + b"\0")
    with pytest.raises(files.ChecksumError, match=f"^{prepared}: .*Make it again: mperceiver prepare toys"):
        croissant.write_croissant("toys")
    assert not Path("results/export").exists()


# ---------------------------------------------------------------- nothing leaves that is not as the cards say


@pytest.mark.parametrize(
    ("changed", "card"),
    [
        ("results/tables/toys.csv", "results/tables/toys.json"),
        ("results/scores/one/toys.csv", "results/scores/one/toys.json"),
        ("results/restored/one/toys.json", "results/scores/one/toys.json"),
        ("data/prepared/toys.json", "results/runs/one/network.json"),
        ("config/runs/one.yaml", "results/runs/one/network.json"),
        ("config/tables/toys.yaml", "results/tables/toys.json"),
        ("data/raw/clean/.sha256", "data/raw/clean.json"),
    ],
)
def test_what_changed_after_a_card_named_it_stops_the_export(tree, changed, card):
    text = Path(changed).read_text(encoding="utf-8")
    later = {
        "config/runs/one.yaml": text.replace("steps: 4", "steps: 5"),
        "config/tables/toys.yaml": text.replace("A caption", "Another caption"),
    }
    Path(changed).write_text(later.get(changed, f"{text}\n"), encoding="utf-8")
    for export in (lambda: bundle.write_bundle("toys"), lambda: crate.write_crate("config/toy.yaml")):
        with pytest.raises(ExportError) as caught:
            export()
        lines = str(caught.value).splitlines()
        assert any(line.startswith(f"{card}: ") and changed in line and " was " in line for line in lines), lines
        *_, counted, again, back = lines
        assert counted.endswith("so nothing was exported. Next:") and back == "to get back what was made: dvc pull"
        assert card in again.partition("to make again: snakemake --cores all -f ")[2].split()
    assert not Path("results/export").exists()


def test_weights_and_pictures_are_compared_where_they_are_copied(tree):
    folder = Path("results/restored/one/toys")
    card = lineage.read_card(f"{folder}.json")
    files.write_json(f"{folder}.json", card | {"outputs": {str(folder): files.write_manifest(folder)}})
    record_again("results/tables/toys.json")
    picture, weights = folder / "haze-0.png", Path("results/runs/one/network.safetensors")
    for changed in (picture, weights):
        changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(ExportError, match=f"^{folder}.json: output {picture} was .*\n1 file") as caught:
        bundle.write_bundle("toys", with_pictures=True)
    assert (
        f"again: snakemake --cores all -f {folder}.json && snakemake --cores all -f results/tables/toys.json\n"
        in str(caught.value)
    )
    with pytest.raises(ExportError, match=f"^results/runs/one/network.json: output {weights} was .*\n1 file"):
        bundle.write_bundle("toys", with_weights=True)
    with zipfile.ZipFile(bundle.write_bundle("toys")) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".png", ".safetensors"))]


# ---------------------------------------------------------------- the bundle


def unpacked(path: Path, to: Path) -> Path:
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(path.absolute()), str(to)], check=True)
    return to / path.stem


def checked(folder: Path) -> tuple[int, str]:
    """What the reviewer's own check says, by a Python that has nothing of this project."""
    words = [sys.executable, "-IS", "verify.py"]
    done = subprocess.run(words, cwd=folder, capture_output=True, encoding="utf-8", env={"PATH": os.environ["PATH"]})
    return done.returncode, done.stdout + done.stderr


def test_a_bundle_is_checked_without_this_project(tree, tmp_path_factory):
    path = bundle.write_bundle("toys", with_pictures=True, with_weights=True)
    before = path.read_bytes()
    assert bundle.write_bundle("toys", with_pictures=True, with_weights=True).read_bytes() == before
    folder = unpacked(path, tmp_path_factory.mktemp("reviewer"))
    code, said = checked(folder)
    assert code == 0 and "cards say" in said, said
    for name in (
        "results/tables/toys.html",
        "results/scores/one/toys.csv",
        "results/runs/one/network.safetensors",
        "config/protocols/rgb.yaml",
        "licences.md",
        "ro-crate-metadata.json",
    ):
        assert (folder / name).is_file(), name
    assert "data/raw/clean.json" in (folder / "trace.txt").read_text(encoding="utf-8")
    assert len(bundle.VERIFY.splitlines()) <= 14


@pytest.mark.parametrize("path", ["results/scores/one/toys.csv", "results/restored/one/toys.json"])
def test_a_changed_file_in_a_bundle_is_named(tree, tmp_path_factory, path):
    folder = unpacked(bundle.write_bundle("toys"), tmp_path_factory.mktemp("reviewer"))
    (folder / path).write_bytes((folder / path).read_bytes().replace(b"0", b"1", 1) + b"\n")
    code, said = checked(folder)
    assert code == 1 and path in said
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    digest = files.sha256(folder / path)
    manifest[path] |= {"sha256": digest, "original": digest}  # a forger who brings the manifest up to date
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    code, said = checked(folder)
    assert code == 1 and path in said, "what a card names by digest is still held to it"


def test_nothing_private_leaves(planted, tmp_path_factory, monkeypatch):
    folder = unpacked(
        bundle.write_bundle("toys", with_pictures=True, with_weights=True), tmp_path_factory.mktemp("out")
    )
    everything = [*folder.rglob("*"), *crate.write_crate("config/toy.yaml").rglob("*")]
    words = (
        [*SECRETS.values(), str(planted), str(Path.home())]
        if len(str(Path.home())) > 5
        else [*SECRETS.values(), str(planted)]
    )
    for path in (path for path in everything if path.is_file()):
        content = path.read_bytes()
        for word in words:
            assert word.encode() not in content and json.dumps(word)[1:-1].encode() not in content, f"{path}: {word}"
    code, said = checked(folder)
    assert code == 0, f"what was taken out of a file is no change of it: {said}"


def test_a_private_word_in_weights_stops_the_bundle(planted):
    weights = Path("results/runs/one/network.safetensors")
    weights.write_bytes(b'{"config": "/x", "by": "' + SECRETS["user"].encode() + b'"}')
    record_again("results/tables/toys.json")
    with pytest.raises(ExportError, match=f"{weights}: holds the name of this machine or of its user"):
        bundle.write_bundle("toys", with_weights=True)
    bundle.write_bundle("toys")


@pytest.mark.parametrize(
    "text",
    [
        "https://a.org/b/c.zip",
        "results/scores/a/b.csv",
        "package:skimage/data/a.png",
        "3/4 of 1/2",
        "</td></tr>",
        "and/or/not",
    ],
)
def test_what_is_not_private_stays(text):
    assert private.cleaned(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "/mnt/lab/x",
        '"/a/b"',
        "~/.ssh/id_rsa",
        "C:\\Users\\x",
        "file:///etc/passwd",
        "ghp_0123456789abcdef0123",
    ],
)
def test_what_is_private_goes(text):
    assert private.MASK in private.cleaned(text)
    assert not any(word in private.cleaned(text) for word in ("mnt", "srv", "Users", "etc", "ghp_0", "/a/b", "id_rsa"))


def test_without_the_libraries_the_extra_is_named(tree, monkeypatch):
    monkeypatch.setitem(sys.modules, "rocrate", None)
    with pytest.raises(ExportError, match="uv sync --extra export"):
        crate.write_crate("config/toy.yaml")


def test_a_table_that_was_not_printed(tree):
    shutil.rmtree("results/tables")
    with pytest.raises(lineage.LineageError, match="results/tables/toys.json: no such card"):
        bundle.write_bundle("toys")
    assert not zipfile.is_zipfile("results/export/toys.zip") and config.names("tables")
