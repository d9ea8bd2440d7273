"""Errors of Snakemake itself, which no job's command raised: what it refused or removed, with the cause and the next command.

Their names and wordings are those of snakemake/exceptions.py and snakemake/dag.py; a test reads them there.
"""

import re
from typing import NamedTuple

from mperceiver.cluster.causes import SAME

# Not CalledProcessError: that is a command that failed, which the block of its job reports.
HEAD = r"(?P<name>(?!CalledProcessError)\w+(?:Exception|Error))(?: in rule (?P<rule>\w+))?(?: in file \"[^\"\n]*\", line \d+)?:$"
# What follows an error's text in the log: a time stamp, another error, or one of Snakemake's next sentences.
AFTER = r"\[|Traceback|\w+(?:Exception|Error)[^\n]*:$|Removing output files|Exiting|Complete log|Shutting down|At least one job"
# A Python program's "ValueError: text" in a job's log has its text in the same line; Snakemake's has it in the next lines.
ERROR = re.compile(rf"^{HEAD}\n(?P<body>(?:(?!{AFTER}).+\n?)+)", re.MULTILINE)
USAGE = re.compile(r"^Error: (?P<body>.+)", re.MULTILINE)
COPY = re.compile(r"^Logfile .*:\n(?P<line>=+)\n", re.MULTILINE)  # begins the head's copy of a failed job's log
BODY_LINES = 6  # of an error's text, printed
INNER = re.compile(r"^ *\w+Error: (?P<text>.*)", re.MULTILINE)  # the project's own message, out of an input function


class Wording(NamedTuple):
    """An error of Snakemake's: what its name or text shows, the cause, and the next command."""

    pattern: str
    cause: str
    next: str


WORDINGS = [
    Wording(
        r"has older modification time|ClockError|ahead of the clock",
        "the time of an input is ahead of the clock, so Snakemake removed the outputs of finished work",
        f"touch the input that is named, compare `date` on both machines, then {SAME}; a training writes its weights again from "
        "its last state",
    ),
    Wording(
        r"MissingOutputException|some output files are missing",
        "the command ended well, but Snakemake does not see its outputs: a slow file server, or somebody removed them",
        f"{SAME} with --latency-wait 60; the job's log in results/logs/ says what it wrote",
    ),
    Wording(
        r"MissingInputException|Missing input files",
        "a file that no rule makes is missing",
        "put the file that is named there, or correct the name in config/; ls config/datasets lists what there is",
    ),
    Wording(
        r"ProtectedOutputException|Write-protected output files",
        "outputs that are to be made again are write-protected: by DVC, which protects its links, or by somebody with chmod",
        f"dvc unprotect and the files that are named, or chmod u+w where it was no link of DVC's, then {SAME} (docs/dvc.md)",
    ),
    Wording(
        r"IncompleteFilesException|seem to be incomplete",
        "a run was killed while it wrote these files",
        f"{SAME} with --rerun-incomplete, which makes them again",
    ),
    Wording(
        r"LockException|cannot be locked",
        "another snakemake works in this folder, or one was killed",
        "wait for the other one; if there is none on any machine: mperceiver orphans on a cluster, else snakemake --unlock",
    ),
    Wording(
        r"ImproperOutputException|Outputs of incorrect type",
        "a folder lies where a file is to be, or a file where a folder is to be",
        f"move away what is named, then {SAME}",
    ),
    Wording(
        r"ChildIOException|is a child to another output",
        "an output lies inside another rule's output folder",
        "ask for other files; the rules are in workflow/rules/",
    ),
    Wording(
        r"MissingRuleException|No rule to produce",
        "no rule makes that file: a name in its path has no file in config/",
        "ls config/methods config/datasets config/tables, then name another file",
    ),
    Wording(
        r"checksums that differ|CheckSumMismatchException",
        "an output is not the file that was expected",
        f"remove what is named, then {SAME}",
    ),
    Wording(
        r"recording metadata|write permissions for the directory|Unlocking the directory",
        "Snakemake cannot write into .snakemake/",
        f"ls -ld .snakemake; df -h . ; then {SAME}",
    ),
    Wording(
        r"Logging plugin|profile|unrecognized arguments|invalid choice",
        "the command or the profile is wrong",
        "snakemake --help; slurm/config.yaml and profiles/default/config.yaml",
    ),
]


class Refusal(NamedTuple):
    """An error of Snakemake's own in a head's log."""

    name: str
    rule: str  # empty if it is of no rule
    lines: list[str]
    cause: str
    next: str

    def describe(self) -> str:
        """What is printed of it: several lines."""
        of = f" of rule {self.rule}" if self.rule else ""
        return "\n".join(
            [
                f"snakemake: {self.name}{of}",
                *(f"           {line}" for line in self.lines),
                f"  cause    {self.cause}",
                f"  next     {self.next}",
            ]
        )


def own_lines(text: str) -> str:
    """A head's log without the copies of its jobs' logs. A copy stands between two lines of equally many `=`, and may contain copies."""
    kept, position = [], 0
    while copy := COPY.search(text, position):
        kept.append(text[position : copy.start()])
        depth, position = 1, copy.end()
        border = re.compile(rf"^(?P<opens>Logfile .*:\n)?{copy['line']}$\n?", re.MULTILINE)
        while depth and (line := border.search(text, position)):
            depth, position = depth + (1 if line["opens"] else -1), line.end()
        if depth:  # the log is cut here
            return "".join(kept)
    return "".join([*kept, text[position:]])


def refusals(text: str) -> list[Refusal]:
    """Snakemake's own errors in a head's log, in their order, each once. Errors in the copies of its jobs' logs are left out."""
    text = own_lines(text)
    matches = [(m.start(), m["name"], m["rule"] or "", m["body"]) for m in ERROR.finditer(text)]
    inside = [range(m.start(), m.end()) for m in ERROR.finditer(text)]
    matches += [
        (m.start(), "Error", "", m["body"])
        for m in USAGE.finditer(text)
        if not any(m.start() in span for span in inside)
    ]
    errors = {(name, rule, body): None for _, name, rule, body in sorted(matches)}
    return [_refusal(*error) for error in errors]


def _refusal(name: str, rule: str, body: str) -> Refusal:
    lines = [line for line in body.splitlines() if line.strip() and not line.lstrip().startswith('File "')]
    for wording in WORDINGS:
        if re.search(wording.pattern, f"{name}\n{body}"):
            return Refusal(name, rule, lines[:BODY_LINES], wording.cause, wording.next)
    own = INNER.search(body)
    return Refusal(
        name, rule, lines[:BODY_LINES], own["text"] if own else lines[0].strip(), f"mend what it names, then {SAME}"
    )
