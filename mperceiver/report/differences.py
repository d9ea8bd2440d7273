"""What differs between two outputs, in words: configuration, data, code, versions, device; nearest cause first."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mperceiver import commits, config, lineage, paths
from mperceiver.report.trace import card_of

CHANGES, MAY, NOT = "changes numbers", "may change numbers", "changes no number"
SHOWN = 60  # characters of a value
# What numbers depend on in a checkout beside config/, nearest first -> what is printed of a file there that differs.
PLACES = {
    "assets": "another content",
    "mperceiver": "changed code",
    # The rules and the profiles decide with how many threads and on how many GPUs a verb runs, which rounds sums differently.
    "Snakefile": "changed workflow",
    "workflow": "changed workflow",
    "profiles": "other settings of Snakemake",
    "slurm": "other settings of Snakemake",
    "uv.lock": "another environment",
}


class Difference(NamedTuple):
    """One difference.

    Attributes:
        depth: steps from the two outputs that are compared; 0: of these themselves.
        where: the card, or the pair of cards, in which it is.
        what: the difference in words, old → new.
        effect: whether it changes numbers.
    """

    depth: int
    where: str
    what: str
    effect: str


# ---------------------------------------------------------------- values


def changed_keys(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, old, new) of every value that differs between two mappings, a key inside another one as ``sampler.steps``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from changed_keys(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    elif old != new:
        yield key, old, new


def in_words(key: str, old: Any, new: Any) -> str:
    """``sampler.steps 1 → 4``; a value that is not there is "none"."""
    return f"{key} {_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


# ---------------------------------------------------------------- two cards and what they depend on


def differences(one: str, other: str) -> list[Difference]:
    """What differs between two outputs and all that they depend on, nearest first.

    Args:
        one, other: each a path of a card or an output, a run, ``method/dataset``, or a commit (then both).

    Raises:
        LineageError: there is no such card, and no such commit in this checkout. CommitError: git cannot compare two commits.
    """
    if (first := _commit(one)) and (second := _commit(other)):
        return _between_commits(first, second)
    pairs = [(0, _card(one), _card(other))]
    seen: set[tuple[str, str]] = set()
    listed: list[Difference] = []
    for depth, a, b in pairs:  # grows as it is read: nearest first
        if (a, b) in seen:
            continue
        seen.add((a, b))
        old, new = lineage.read_card(a), lineage.read_card(b)
        listed += _of_cards(depth, a, b, old, new)
        for x, y in _paired(old["inputs"], new["inputs"]):
            if x != y and _is_card(x) and _is_card(y):
                pairs.append((depth + 1, str(x), str(y)))
            elif what := _of_inputs(x, y, old, new):
                listed.append(Difference(depth, _where(a, b), what, _effect(x, y, old, new)))
    return sorted(dict.fromkeys(listed), key=lambda difference: difference.depth)


def _of_cards(depth: int, a: str, b: str, old: dict, new: dict) -> list[Difference]:
    """What two cards say differently of themselves."""
    where, same = _where(a, b), _same_outputs(old, new)
    listed = []
    for key, was, now in changed_keys(old["spec"], new["spec"]):
        effect = NOT if same or key in ("dataset", "method") or key.endswith("title") else CHANGES
        listed.append(Difference(depth, where, in_words(key, was, now), effect))
    if old.get("seed") != new.get("seed"):
        listed.append(
            Difference(depth, where, in_words("seed", old.get("seed"), new.get("seed")), NOT if same else CHANGES)
        )
    if old["code"] != new["code"]:
        what = (
            f"code {old['code'][:12]} (commit {old['commit'][:12]}) → {new['code'][:12]} (commit {new['commit'][:12]})"
        )
        listed.append(Difference(depth, where, what, NOT if same else MAY))
    for package, was, now in changed_keys(old.get("versions", {}), new.get("versions", {})):
        listed.append(Difference(depth, where, in_words(package, was, now), NOT if same else MAY))
    if old.get("device") != new.get("device"):
        what = in_words("device", old.get("device"), new.get("device"))
        listed.append(Difference(depth, where, what, NOT if same else MAY))
    if old.get("lock") != new.get("lock"):
        listed.append(Difference(depth, where, "uv.lock is another one", NOT if same else MAY))
    return listed


def _of_inputs(x: str | None, y: str | None, old: dict, new: dict) -> str | None:
    """How an input of the first card differs from its partner of the second, in words; None where nothing is to be said."""
    if x is None:
        return f"reads {y}, which the first does not"
    if y is None:
        return f"does not read {x}"
    if "#" in x and (x != y or old["spec"] != new["spec"]):
        return None  # a part of a configuration file: the spec's keys tell what differs
    was, now = old["inputs"][x], new["inputs"][y]
    if was == now:
        return None
    if x == y:
        return f"{x} had another content: {was[:12]} → {now[:12]}"
    return f"{x} {was[:12]} → {y} {now[:12]}"


def _effect(x: str | None, y: str | None, old: dict, new: dict) -> str:
    """Whether inputs that differ change numbers. Another card need not: it names its commit, too. Nor need a part: it may be a title."""
    if _same_outputs(old, new):
        return NOT
    return MAY if x is not None and x == y and (paths.is_output(x) or "#" in x) else CHANGES


def _is_card(name: str | None) -> bool:
    return name is not None and lineage.is_card(name) and Path(name).is_file()


def _same_outputs(old: dict, new: dict) -> bool:
    """Whether two cards have outputs that are equal to the byte."""
    return bool(old["outputs"]) and list(old["outputs"].values()) == list(new["outputs"].values())


def _where(a: str, b: str) -> str:
    return a if a == b else f"{a} and {b}"


def _paired(old: dict[str, str], new: dict[str, str]) -> list[tuple[str | None, str | None]]:
    """Inputs of two cards in pairs: first those of one name, then, in their order, those that the same rule made."""
    pairs: list[tuple[str | None, str | None]] = [(name, name) for name in old if name in new]
    left, right = [name for name in old if name not in new], [name for name in new if name not in old]
    for name in left:
        partner = next((other for other in right if _kind(other) == _kind(name)), None)
        pairs.append((name, partner))
        if partner is not None:
            right.remove(partner)
    return pairs + [(None, name) for name in right]


def _kind(name: str) -> str:
    """What an input is: the rule that makes the card, or the folder of config/ with the rule that reads it."""
    if "#" in name:
        return f"{Path(name).parent}#{name.rpartition('#')[2]}"
    try:
        return config.job_of(name)[0]
    except KeyError:
        return name.partition(":")[0] if ":" in name else str(Path(name).parent)


def _card(target: str) -> str:
    """The card of a run's last stage, of ``method/dataset``, or of anything that ``trace`` takes."""
    if re.fullmatch(f"{config.NAME.pattern}", target) and config.path_of("runs", target).is_file():
        trained = config.weights_of(target)
        cards = [paths.weights_card(trained[stage], stage) for stage in config.STAGES if stage in trained]
        if there := [card for card in cards if card.is_file()]:
            return str(there[-1])
        if not paths.table_file(target, "json").is_file():
            raise lineage.LineageError(f"run {target}: not trained here; train it: {paths.making(cards[-1])}")
    method, _, dataset = target.partition("/")
    if all(config.NAME.fullmatch(name) for name in (method, dataset)) and not Path(target).exists():
        config.load("methods", method)  # which names the nearest ones if there is none
        config.load("datasets", dataset)
        if not (card := paths.scores_card(method, dataset)).is_file():
            raise lineage.LineageError(f"{target}: not scored here; make the scores: {paths.making(card)}")
        return str(card)
    return str(card_of(target))


# ---------------------------------------------------------------- two commits


def _commit(target: str) -> str | None:
    """The full hash of a commit; None for a file, a run, or whatever else git does not know."""
    if Path(target).exists() or "/" in target or config.path_of("runs", target).is_file():
        return None
    return commits.resolve(target)


def _between_commits(one: str, other: str) -> list[Difference]:
    listed = []
    for file in commits.files_between(one, other, "config"):
        if not file.endswith(".yaml"):
            listed.append(Difference(0, file, "another content", MAY))
            continue
        old, new = (config.parse_text(commits.file_at(commit, file)) for commit in (one, other))
        for key, was, now in changed_keys(old, new):
            words = key.rpartition(".")[2] in config.WORDS
            listed.append(Difference(0, file, in_words(key, was, now), NOT if words else CHANGES))
    for depth, (place, what) in enumerate(PLACES.items(), start=1):
        listed += [_of_file(depth, file, what) for file in commits.files_between(one, other, place)]
    return listed


def _of_file(depth: int, file: str, what: str) -> Difference:
    """A file outside config/ that differs between two commits."""
    if file.endswith(".safetensors"):
        return Difference(depth, file, "other weights", CHANGES)
    if file.endswith(".rst"):
        return Difference(depth, file, "other words in Snakemake's own report", NOT)
    return Difference(depth, file, what, MAY)


# ---------------------------------------------------------------- in print


def print_differences(one: str, other: str) -> None:
    """Print what differs, a line a difference. Raises what ``differences`` raises."""
    from mperceiver.printing import say

    listed = differences(one, other)
    if not listed:
        of_commits = _commit(one) and _commit(other)
        looked_at = (
            f" in {', '.join(['config', *PLACES])}" if of_commits else ", by what their cards and all cards below say"
        )
        say(f"{one} and {other}: nothing differs{looked_at}")
    where = None
    for difference in listed:
        if difference.where != where:
            where = difference.where
            say(where)
        say(f"  {difference.what}   [{difference.effect}]")
