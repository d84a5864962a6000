"""What more than one suite needs: the server that speaks Ollama's protocol, and llama.cpp behind it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def ollama() -> Any:
    """The module of the protocol-faithful server, which lives beside the runtime's own tests."""
    name = "ollama_server_for_contracts"
    path = Path(__file__).parent.parent / "service" / "ollama_server.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def llama(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """llama.cpp with a tiny real model, listening to nobody but this process."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="xllamacpp has no wheel for this platform")
    model = test_data / "models" / "stories260K.gguf"
    if not model.is_file():
        pytest.skip("needs the tiny GGUF of the test data: models/stories260K.gguf")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx, parameters.verbosity, parameters.offline, parameters.ui = 2048, 0, True, False
    parameters.cache_ram_mib = 0
    parameters.hostnames = [str(tmp_path_factory.mktemp("llama") / "l.sock")]
    parameters.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    return xllamacpp.Server(parameters)
