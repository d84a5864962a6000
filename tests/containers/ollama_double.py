"""What runs in place of Ollama in its container: the tests' server of its protocol, with llama.cpp and a tiny model behind it.

As Ollama does, it listens on every address, and keeps a key of its own in its home.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xllamacpp
from ollama_server import Behaviour, ollama_server

_SAID, _GO = Path("/tmp/said"), Path("/tmp/go")


class Speaker:
    """The tiny model; while there is a file `/tmp/said`, the lines of that file, of which the second waits for `/tmp/go`."""

    def __init__(self) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = "/opt/tiny.gguf"
        parameters.n_ctx, parameters.verbosity, parameters.offline, parameters.ui = 2048, 0, True, False
        parameters.cache_ram_mib = 0
        parameters.hostnames = ["/tmp/llama.sock"]
        parameters.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
        self._model = xllamacpp.Server(parameters)

    def handle_chat_completions(self, request: dict[str, Any], heard: Callable[[Any], bool]) -> None:
        """Speaks as llama.cpp's own server does."""
        if not _SAID.exists():
            self._model.handle_chat_completions(request, heard)
            return
        for number, line in enumerate(_SAID.read_text(encoding="utf-8").splitlines(keepends=True)):
            while number and not _GO.exists():
                time.sleep(0.05)
            heard({"choices": [{"delta": {"content": line}}]})


if __name__ == "__main__":
    key = Path(os.environ["HOME"], ".ollama", "id_ed25519")
    key.parent.mkdir(exist_ok=True)
    key.write_text("a key of its own")
    with ollama_server(Speaker(), Behaviour(), ("0.0.0.0", 11434)):
        threading.Event().wait()
