"""Start the page: on this machine only, with no file left behind and no address outside asked for anything."""

import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

from mperceiver import config
from mperceiver.app import work
from mperceiver.machine import quiet_model_libraries
from mperceiver.printing import say

LOCAL = ("127.0.0.1", "localhost")
# Neither scripts nor fonts nor pictures come from elsewhere, and no other page may frame this one.
POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"

# Colours that text can be read in, with a contrast of 4.5 at least (WCAG 2, AA); Gradio's own have 2.5 to 4.4.
READABLE = {
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_400",
    "link_text_color_dark": "*secondary_400",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_dark": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_hover_dark": "*primary_800",
}

UNTRANSLATED = {"common.upload": "Upload others"}  # labels that Gradio shows as their keys


class AppError(RuntimeError):
    """The page cannot be started; the message says what to do."""


def serve(host: str, port: int, browser: bool = False) -> None:
    """Serve the page until Ctrl-C, SIGTERM or a closed terminal. What is uploaded and restored lies in one temporary folder.

    The folder is removed in the end.

    Args:
        host: the address to listen on; any but 127.0.0.1 lets other machines in.
        port: of TCP; 0: any that is free.
        browser: open the page in this machine's browser.

    Raises AppError: Gradio is not installed, no method has weights, or the port is taken.
    """
    config.or_shipped()
    if not work.methods():
        raise AppError(
            f"no method in {config.path_of('methods', '').parent} has its weights here; train some first, with `make demo`, or go to a "
            "folder that has them"
        )
    folder: Path | None = None
    ended = threading.Event()
    # Before there is a folder, so that no signal leaves it behind.
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in _endings()}
    try:
        folder = Path(tempfile.mkdtemp(prefix="mperceiver-app-"))
        page, address = launch(folder, host, port, browser)
        say(f"The page: {address} (Ctrl-C ends it)")
        if host not in LOCAL:
            say(
                f"warning: whoever reaches {host}:{port} on the network can use this machine to restore pictures",
                error=True,
            )
        ended.wait()
        page.close(verbose=False)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _endings() -> list[signal.Signals]:
    """The signals that end the page: also that of a closed terminal or a dropped ssh, unless `nohup` makes the process ignore it."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def launch(folder: Path, host: str, port: int, browser: bool = False) -> tuple[Any, str]:
    """Start the server in a thread of its own; returns Gradio's page, which is to be closed, and its address.

    Raises AppError if Gradio is not installed, if nothing can listen at ``host`` and ``port``, or if the server does not start.
    """
    port = _free_port(host, port)
    _ask_without_proxy(host)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    os.environ["GRADIO_SHARE"] = "False"
    quiet_model_libraries()
    try:
        import gradio
    except ImportError:
        raise AppError(
            "the page needs Gradio, an extra: uv sync --extra app (or pip install 'mperceiver[app]')"
        ) from None
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from mperceiver.app.page import build

    here = Path(__file__).parent
    (folder / "uploads").mkdir()
    theme = gradio.themes.Default(
        primary_hue="teal",
        neutral_hue="stone",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(**READABLE)
    page = build(work.Workshop(folder / "restored"))
    page.queue(max_size=16, default_concurrency_limit=1, api_open=False)
    # Requests under other names are refused: a web page elsewhere could point its own name at this machine.
    hosts = ["*"] if host not in LOCAL else list(LOCAL)
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            inbrowser=browser,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            show_error=True,
            ssr_mode=False,
            enable_monitoring=False,
            footer_links=[],
            max_file_size=f"{work.MOST_MIB}mb",
            allowed_paths=[str(folder)],
            theme=theme,
            i18n=gradio.I18n(en=UNTRANSLATED),
            css_paths=here / "page.css",
            head=f"<script>{(here / 'page.js').read_text(encoding='utf-8')}</script>",
            app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_Headers)]},
        )
    except (OSError, ValueError) as error:
        raise AppError(
            f"the page at {host}:{port} did not answer within the five seconds that Gradio waits, as on a machine that is very busy; "
            f"try again: mperceiver app --port {port} (Gradio says: {error})"
        ) from error
    return page, address


def _ask_without_proxy(host: str) -> None:
    """Take this machine off the proxy: Gradio asks its own server whether it answers, and a cluster's proxy (http_proxy) cannot reach it."""
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), *LOCAL, host]))


def _free_port(host: str, port: int) -> int:
    """``port`` if this process can listen at it, or any free one for 0. Raises AppError."""
    import socket

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just left is free
            one.bind(address)
            return int(one.getsockname()[1])
    except OSError as error:
        raise AppError(
            f"{host}:{port}: nothing can be served there: {error.strerror}. If another program has the port (another `mperceiver app`?), "
            "take any free one: mperceiver app --port 0. If this machine has no such address, leave out --host"
        ) from None


class _Headers:
    """Adds POLICY to every answer (ASGI)."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, sent)
