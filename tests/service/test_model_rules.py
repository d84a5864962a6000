"""Which model answers: by knowledge base and classification in the settings, and never one that policy does not let see it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

LEAVE = "How many days of annual leave do staff have?"
MERGER = "For how much does the board plan to buy Tannhof Optics?"
RULES = """
[models.also.small]
kind = "ollama"
model = "tiny"
url = "{url}"

[[models.rules]]
classification = "internal"
use = "small"
"""
NO_MODEL_SEES_IT = """
@id("no-model-sees-confidential")
@description("Confidential text is shown to no model.")
forbid (principal is Person, action == Action::"model.use", resource is AccessClass)
when { resource.classification >= 2 };
"""


@pytest.fixture(scope="module")
def house(
    make_indexed: Any, start_service: Any, model_double: ModuleType, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Any, Path]]:
    """A service that quotes, and lets a model answer up to `internal`; the model double's behaviour; a policy folder."""
    root = tmp_path_factory.mktemp("m")
    data, _, keys = make_indexed(root)
    behaviour = model_double.Behaviour(text=["Staff have 30 days of annual leave [1]."])
    shutil.copytree(repository / "policies" / "defaults", root / "policies")
    with model_double.ollama_server(None, behaviour) as url:
        (data / "inhouse.toml").write_text(RULES.format(url=url), encoding="utf-8")
        with start_service(data, keys) as running:
            yield running, behaviour, root / "policies"


def asked(service: Any, person: str, question: str, model: str = "inhouse") -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    headers = {"authorization": f"Bearer {service.keys[person]}"}
    response = httpx2.post(f"{service.url}/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=60)
    told: dict[str, Any] = response.json()["inhouse"]
    return told


def test_a_model_answers_up_to_its_classification_and_is_sent_nothing_above_it(house: tuple[Any, Any, Path]) -> None:
    service, behaviour, _ = house
    internal = asked(service, "ana", LEAVE)
    assert (internal["model"], internal["runtime"]) == ("tiny:latest", "ollama")
    assert [one["quote"] for one in internal["citations"]] == ["Staff have 30 days of annual leave."]
    confidential = asked(service, "dora", MERGER)
    assert confidential["runtime"] == "extractive"
    assert "48 million" in confidential["answer"]
    # What was found for dora's question holds internal passages too: the highest decides.
    assert "30 days" in json.dumps([str(one) for one in behaviour.requests])
    assert "Tannhof" not in json.dumps([str(one) for one in behaviour.requests])


def test_what_policy_shows_to_no_model_is_found_and_not_answered_from(house: tuple[Any, Any, Path], start_service: Any) -> None:
    service, _, policies = house
    (policies / "no-model.cedar").write_text(NO_MODEL_SEES_IT, encoding="utf-8")
    service.process.send_signal(15)
    service.process.wait(60)
    with start_service(service.data, service.keys, INHOUSE_ACCESS__POLICIES=str(policies)) as running:
        told = asked(running, "dora", MERGER)
        assert told["refused"]
        assert "Tannhof" not in json.dumps(told["nearest"])
        headers = {"authorization": f"Bearer {service.keys['dora']}"}
        found = httpx2.post(f"{running.url}/v1/search", json={"text": MERGER}, headers=headers, trust_env=False, timeout=60)
        assert found.json()["hits"][0]["path"] == "board/merger.md"
