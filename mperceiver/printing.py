"""What a person sees: text on a terminal, in a log or in an error's message.

Names of files, answers of servers and headings of tables come from strangers. A control character in them would colour, clear or
retitle the terminal, so it is shown as an escape (``\\x1b``); passwords and tokens in URLs are masked; and a character that the
locale's encoding does not have is shown as an escape, too, so that no work ends because something was printed.

All of the package prints by ``say`` and ``console``.
"""

import contextlib
import io
import json
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# Control characters (C0, C1 and DEL), marks that turn the direction of writing, separators of lines, and the lone surrogates that stand
# for bytes of a name that is not UTF-8. New lines and tabs are left as they are.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# The user and password before the @ of a URL. A password may have a slash in it, unless a port follows the colon.
_USER = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s/?#'\"<>]*|[^\s/?#'\"<>@:]*:(?!\d+(?:[/?#\s]|$)|[^\s/@]*\])[^\s'\"<>]*)@"
)
# Secret values in the query of a URL, also of a URL without its host, as requests prints it.
_SECRET = re.compile(
    r"([?&;](?:[\w.%-]*(?:token|secret|passw|signature|credential|api-?_?key)[\w.%-]*|auth|authorization|sig|key|pwd)=)"
    r"[^\s&;#'\"<>)]+",
    re.IGNORECASE,
)
MASK = "***"


def masked(text: str) -> str:
    """The text with ``***`` for the user's part of each URL, and for the value of each key that is a token or a signature."""
    if "@" in text:
        text = _USER.sub(rf"\1{MASK}@", text)
    return _SECRET.sub(rf"\1{MASK}", text) if "=" in text else text


def masked_data(data: Any) -> Any:
    """Plain data, of dictionaries and lists, with all its texts ``masked``."""
    if isinstance(data, dict):
        return {masked_data(key): masked_data(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [masked_data(value) for value in data]
    return masked(data) if isinstance(data, str) else data


def shown(text: object, lines: bool = True) -> str:
    """The text as it may be printed: what cannot be seen is shown as an escape, and secrets in URLs are masked.

    ``lines``: leave new lines and tabs as they are; without, they are escapes, too, as in a name.
    """
    text = UNSEEN.sub(lambda found: _escape(found[0]), masked(str(text)))
    return text if lines else text.replace("\n", "\\n").replace("\t", "\\t")


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is no UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def say(text: object, error: bool = False) -> None:
    """Print a line, or several, on standard output, or on standard error; see ``shown``."""
    print(shown(text), file=sys.stderr if error else sys.stdout, flush=True)


def say_json(data: Any, indent: int | None = None) -> None:
    """Print data as JSON in ASCII for other programs, its texts exactly as they are."""
    print(json.dumps(data, indent=indent).replace("\x7f", "\\u007f"), flush=True)


def console(error: bool = False, **settings: Any) -> "Console":
    """A rich console on standard output or error that prints text as it is (no markup), see ``shown``."""
    from rich.console import Console
    from rich.segment import Segment

    class Plain(Console):
        def render_str(self, text: str, **settings: Any) -> Any:  # before its width is measured
            return super().render_str(shown(text), **settings)

        def render(self, renderable: Any, options: Any = None) -> Any:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(shown(segment.text), segment.style)

    return Plain(stderr=error, markup=False, emoji=False, **settings)


def print_anything() -> None:
    """Make standard output and error print what their encoding does not have as an escape, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # its descriptor was a file's, and is now a pipe's
                stream.reconfigure(errors="backslashreplace")
