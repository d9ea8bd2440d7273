"""Why Snakemake would run a job or not, and what was made by other code or configuration than today's; with costs."""

from pathlib import Path
from typing import Any, NamedTuple

from mperceiver import commits, config, csvs, lineage, paths, shipped
from mperceiver.printing import say
from mperceiver.report.differences import changed_keys, in_words

# ---------------------------------------------------------------- why a job would run


def why(rule: str, names: tuple[str, ...]) -> tuple[bool, list[str]]:
    """(whether Snakemake would run a job, the reasons in sentences).

    Args:
        rule: a rule, e.g. ``restore``.
        names: its wildcards, e.g. ("demo", "demo-mid6"); of the report its experiment, or none for the demo's.

    Raises:
        LineageError: there is no such rule, or it has another number of names. ConfigError: a name has no file.
    """
    card = _card_of_job(rule, names)
    inputs = _inputs(card)
    first = _reasons_of_inputs(inputs, {})
    if not Path(card).is_file():
        return True, [f"{card} is missing", *first]
    reasons = _reasons(card, inputs) + first
    return bool(reasons), reasons or [f"{card} names exactly the {len(inputs)} inputs that it would read now"]


def print_why(rule: str, names: tuple[str, ...]) -> None:
    """Print whether a job would run, and why. Raises what ``why`` raises."""
    runs, reasons = why(rule, names)
    job = " ".join((rule, *names))
    say(f"{job} would {'run' if runs else 'not run'}: {reasons[0]}")
    for reason in reasons[1:]:
        say(f"  and: {reason}")


def _card_of_job(rule: str, names: tuple[str, ...]) -> str:
    if rule == "report":
        if len(names) > 1:
            raise lineage.LineageError("rule report has one name, the experiment's: mperceiver why report demo")
        return str(paths.report_card(names[0] if names else _experiment().stem))
    if rule.startswith("train_") and len(names) == 1 and rule.removeprefix("train_") in config.STAGES:
        return str(paths.weights_card(names[0], rule.removeprefix("train_")))
    folder = next((folder for folder, cards in paths.CARDS.items() if cards.rule == rule), None)
    if folder is None:
        rules = [cards.rule for cards in paths.CARDS.values() if cards.rule]
        rules += [f"train_{stage}" for stage in config.STAGES]
        raise lineage.LineageError(f"no rule {rule}; the rules are {', '.join([*rules, 'report'])}")
    count = paths.CARDS[folder].names
    if len(names) != count:
        raise lineage.LineageError(
            f"rule {rule} has {count} name(s): mperceiver why {rule} {' '.join(['NAME'] * count)}"
        )
    return f"{folder.joinpath(*names)}.json"


def _inputs(card: str) -> list[str]:
    path = Path(card)
    if path.parent == paths.REPORT:
        file = _experiment() if _experiment().stem == path.stem else Path(f"config/{path.stem}.yaml")
        return config.report_inputs(file)
    return config.inputs_of(card)


def _experiment() -> Path:
    """The experiment's file in a job of the workflow; elsewhere the demo's."""
    return config.experiment_of_workflow() or Path("config/demo.yaml")


def _reasons_of_inputs(inputs: list[str], known: dict[str, list[str]]) -> list[str]:
    """``_reasons_below`` of each input, a reason that several of them have once."""
    return list(dict.fromkeys(reason for entry in inputs for reason in _reasons_below(str(entry), known)))


def _reasons_below(card: str, known: dict[str, list[str]]) -> list[str]:
    """Why a card that is an input would be made again first; empty if it would not, or if it is no card of a job.

    ``known``: card -> its reasons, for an input that several jobs read. This function adds to it.
    """
    if not paths.is_output(card):
        return []
    if card not in known:
        known[card] = []  # below itself, if `start_from` leads in a circle
        inputs = config.inputs_of(card)
        known[card] = _reasons_of_inputs(inputs, known) or _own_reasons(card, inputs)
    return known[card]


def _own_reasons(card: str, inputs: list[str]) -> list[str]:
    """Why a card would be made again first although nothing below it would."""
    rule, names = config.job_of(card)
    job = " ".join((rule, *names))
    reasons = _reasons(card, inputs) if Path(card).is_file() else [f"{card} is missing"]
    return [f"{job} runs first: {reason}" for reason in reasons]


def _reasons(card: str, inputs: list[str]) -> list[str]:
    return [sentence for change in config.changes(card, inputs) for sentence in _sentences(card, change)]


def _sentences(card: str, change: config.Change) -> list[str]:
    """A change in words; of a configuration file the keys."""
    file, _, rule = change.name.partition("#")
    if rule and change.recorded is not None and Path(file).parent.name in config.KINDS:
        return [f"{file}: {words}" for words in _changed_values(card, file, rule)] or [
            f"{file}: a key that rule {rule} reads has another value; the card holds its digest alone: git log -p -- {file}"
        ]
    if rule:
        before = [name for name in lineage.read_card(card)["inputs"] if Path(name).parent == Path(file).parent]
        return [
            f"reads {file} now"
            + (f"; before: {', '.join(name.partition('#')[0] for name in before)}" if before else "")
        ]
    if change.recorded is None:
        return [f"reads {file} now, and did not before"]
    return [f"{file} was {'made again' if paths.is_output(file) else 'changed'} since"]


def _changed_values(card: str, file: str, rule: str) -> list[str]:
    """The keys of a file's part in words, old value → new one; empty where the old ones are not known."""
    now = config.read_part(Path(file).parent.name, Path(file).stem, rule)
    if (before := _recorded(card, file)) is not None:
        return [in_words(*one) for one in changed_keys({key: before.get(key) for key in now}, now)]
    old, new = _committed(card, file), config.parse_text(Path(file).read_text(encoding="utf-8"))
    if old is None:
        return []
    return [in_words(*one) for one in changed_keys(old, new) if one[0].partition(".")[0] in now]


def _recorded(card: str, file: str) -> dict[str, Any] | None:
    """What the card's spec holds of a file; None if it holds nothing of it: a table's card has no keys of its methods."""
    above = paths.folder_of(card)
    if above is None:  # the report's card
        return None
    folder, key = config.JOBS[above].records
    if Path(file).parent.name != folder or (folder != "protocols" and Path(file).stem not in config.job_of(card)[1]):
        return None
    spec = lineage.read_card(card)["spec"]
    part = spec if key is None else spec.get(key)
    return part if isinstance(part, dict) else None


def _committed(card: str, file: str) -> dict[str, Any] | None:
    """A file at the commit of a card; None if the card was made from other files, or if the commit does not hold it."""
    made = lineage.read_card(card)
    if made.get("dirty") or Path.cwd().resolve() != shipped.PACKAGE.parent.resolve():
        return None
    text = commits.file_at(made["commit"], file)
    return None if text is None else config.parse_text(text)


# ---------------------------------------------------------------- what is stale


class Stale(NamedTuple):
    """An output that today's code or configuration did not make.

    Attributes:
        card: its card.
        reasons: why, in sentences; empty if only the code is another one.
        command: what makes it anew.
        seconds: what that took last time; None: not known.
    """

    card: str
    reasons: list[str]
    command: str
    seconds: float | None


def stale() -> list[Stale]:
    """All outputs that were made by other code or configuration than that of the working directory, from below."""
    outputs = []
    for card in config.cards_here():
        try:
            reasons = _reasons(card, config.inputs_of(card))
            by_code = lineage.read_card(card).get("code") != lineage.code()
        except config.ConfigError as error:
            reasons, by_code = [f"its configuration is gone: {error}"], False
        except lineage.LineageError as error:
            reasons, by_code = [str(error)], False
        if reasons or by_code:
            command = paths.making(card) if reasons else paths.making_again(card)
            outputs.append(Stale(card, reasons, command, seconds(card)))
    return outputs


def seconds(card: str) -> float | None:
    """Seconds that the job of a card took, from its benchmark file; None if there is none."""
    return csvs.measured(config.benchmark_of(card), "s")


def print_stale() -> None:
    """Print what is stale, with commands and costs."""
    outputs = stale()
    for one in outputs:
        cost = "" if one.seconds is None else f"  ({one.seconds:.0f} s last time)"
        say(f"{one.card}: {'; '.join(one.reasons) or 'made by other code'}\n  {one.command}{cost}")
    by_configuration = [one for one in outputs if one.reasons]
    total = sum(one.seconds or 0 for one in outputs)
    if outputs:
        say(
            f"{len(by_configuration)} output(s) by configuration, which `snakemake` makes again; {len(outputs) - len(by_configuration)} "
            f"by code alone, which it leaves; {total:.0f} s in all, by the benchmark files"
        )
    elif made := len(config.cards_here()):
        say(f"nothing is stale: today's code and configuration made all {made} outputs")
    else:
        say(f"nothing is stale: nothing has been made in {Path.cwd()}")
