"""What must not leave the house: secrets, host and user names, absolute paths. What is exported passes through here."""

import getpass
import os
import re
import socket
from pathlib import Path
from typing import Any

from mperceiver.printing import MASK, masked

SECRET = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{20,}|AKIA[0-9A-Z]{12,}|sk-[A-Za-z0-9_-]{16,}|xox[abpr]-[\w-]{10,})"
)
# An absolute path of Unix or Windows. The slashes of a URL, and a path below another name, are none.
ABSOLUTE = re.compile(
    r"(?<![\w.:/~\\*-])(?:~?/(?:[\w.@+ -]*[\w.@+-]/)+[\w.@+-]*|[A-Za-z]:\\[^\s\"'<>|]+|file://[^\s\"'<>]+)"
)
SHORTEST = 3  # letters of a user's or host's name that is looked for


def cleaned(text: str) -> str:
    """The text without secrets, absolute paths, and the names of this machine and of its user; *** stands in their place."""
    text = masked(text)
    text = SECRET.sub(MASK, text)
    text = ABSOLUTE.sub(MASK, text)
    for name in private_names():
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", MASK, text)
    return text


def cleaned_data(data: Any) -> Any:
    """Plain data, of dictionaries and lists, with all its texts ``cleaned``."""
    if isinstance(data, dict):
        return {cleaned(str(key)): cleaned_data(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [cleaned_data(value) for value in data]
    return cleaned(data) if isinstance(data, str) else data


def private_names() -> list[str]:
    """Names of this machine and of its user, and values of environment variables that are secrets; the longest first."""
    names = {socket.gethostname(), socket.gethostname().partition(".")[0], os.environ.get("HOSTNAME", "")}
    names |= {os.environ.get(key, "") for key in ("USER", "LOGNAME", "SLURM_JOB_USER", "SUDO_USER")} | {
        Path.home().name
    }
    try:
        names.add(getpass.getuser())
    except (KeyError, OSError):  # a user without a name
        pass
    secret = re.compile("token|secret|passw|api_?key|credential", re.IGNORECASE)
    names |= {value for key, value in os.environ.items() if secret.search(key) and len(value) > 7}
    common = {"root", "localhost", "user", "home", "runner", "ubuntu", "build"}  # words, not names
    return sorted(
        (name for name in names if len(name) >= SHORTEST and name.lower() not in common), key=lambda n: -len(n)
    )


def is_private(content: bytes) -> str | None:
    """What must not leave in a file that is no text, in words; None if nothing was found."""
    text = content.decode("latin-1")
    if SECRET.search(text):
        return "a secret"
    found = [
        name
        for name in private_names()
        if len(name) > SHORTEST and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)
    ]
    return "the name of this machine or of its user" if found else None
