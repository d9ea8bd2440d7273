"""The page of `mperceiver app`: photographs are restored in the browser, on this machine.

``work`` restores, ``markup`` writes what is shown, ``page`` puts it together with Gradio, and ``serve`` starts it. Only ``page``
and ``serve`` import Gradio, which is an extra: ``uv sync --extra app``.
"""
