"""Which model answers: by knowledge base and classification in the settings, and never one that policy does not let see it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
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

[models.also.big]
kind = "ollama"
model = "big"
url = "{big}"

[[models.rules]]
classification = "internal"
use = "big"
chosen = true

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
    """A service that quotes, lets a model answer up to `internal`, and lets people choose another up to `internal`; what both
    models were asked; a policy folder."""
    root = tmp_path_factory.mktemp("m")
    data, _, keys = make_indexed(root)
    small, big = (
        model_double.Behaviour(text=["Staff have 30 days of annual leave [1]."], model=name)
        for name in ("tiny:latest", "big:latest")
    )
    # One list for both: what is said of the models is said of each.
    big.requests = small.requests
    shutil.copytree(repository / "policies" / "defaults", root / "policies")
    with model_double.ollama_server(None, small) as url, model_double.ollama_server(None, big) as other:
        (data / "inhouse.toml").write_text(RULES.format(url=url, big=other), encoding="utf-8")
        with start_service(data, keys) as running:
            yield running, small, root / "policies"


def posted(service: Any, person: str, model: str, *messages: str) -> httpx2.Response:
    """The answer to the last of the messages, which are the person's and the assistant's in turn."""
    roles = ("user", "assistant")
    said = [{"role": roles[place % 2], "content": text} for place, text in enumerate(messages)]
    headers = {"authorization": f"Bearer {service.keys[person]}"}
    return httpx2.post(
        f"{service.url}/v1/chat/completions",
        json={"model": model, "messages": said},
        headers=headers,
        trust_env=False,
        timeout=60,
    )


def asked(service: Any, person: str, question: str, model: str = "inhouse") -> dict[str, Any]:
    told: dict[str, Any] = posted(service, person, model, question).json()["inhouse"]
    return told


def sent_to_models(behaviour: Any) -> str:
    return json.dumps([str(one) for one in behaviour.requests])


def test_a_model_answers_up_to_its_classification_and_is_sent_nothing_above_it(house: tuple[Any, Any, Path]) -> None:
    service, behaviour, _ = house
    internal = asked(service, "ana", LEAVE)
    assert (internal["model"], internal["runtime"]) == ("tiny:latest", "ollama")
    assert [one["quote"] for one in internal["citations"]] == ["Staff have 30 days of annual leave."]
    confidential = asked(service, "dora", MERGER)
    assert confidential["runtime"] == "extractive"
    assert "48 million" in confidential["answer"]
    # What was found for dora's question holds internal passages too: the highest decides.
    assert "30 days" in sent_to_models(behaviour)
    assert "Tannhof" not in sent_to_models(behaviour)


def listed(service: Any, person: str) -> set[str]:
    headers = {"authorization": f"Bearer {service.keys[person]}"}
    response = httpx2.get(f"{service.url}/v1/models", headers=headers, trust_env=False)
    return {one["id"] for one in response.json()["data"]}


def test_the_models_that_are_listed_are_those_that_the_caller_may_choose(house: tuple[Any, Any, Path]) -> None:
    service, _, _ = house
    internal = {"inhouse", "inhouse/handbook", "inhouse:big", "inhouse/handbook:big"}
    assert listed(service, "ana") == internal
    # Nothing of the board's knowledge base may be sent to a model that can be chosen.
    assert listed(service, "dora") == {*internal, "inhouse/board"}
    assert listed(service, "root") == {"inhouse"}
    assert asked(service, "ana", LEAVE, "inhouse/handbook:big")["model"] == "big:latest"
    refusals = []
    for person, name in (("root", "inhouse:big"), ("ana", "inhouse:small"), ("dora", "inhouse/board:big"), ("ana", "gpt-4o")):
        refused = posted(service, person, name, LEAVE)
        assert refused.status_code == 404
        refusals.append(refused.text.replace(name, ""))
        assert refused.json()["error"]["code"] == "model_not_found"
    assert len(set(refusals)) == 1


def test_a_chosen_model_is_sent_nothing_that_the_rules_would_not_send_it(house: tuple[Any, Any, Path]) -> None:
    service, behaviour, _ = house
    chosen = asked(service, "dora", LEAVE, "inhouse/handbook:big")
    assert (chosen["model"], chosen["instead_of"]) == ("big:latest", "")
    confidential = asked(service, "dora", MERGER, "inhouse:big")
    assert (confidential["runtime"], confidential["instead_of"]) == ("extractive", "big")
    assert "48 million" in confidential["answer"]
    # A client's conversation says nothing of what its answers rest on.
    went_on = posted(service, "dora", "inhouse/handbook:big", MERGER, confidential["answer"], LEAVE).json()["inhouse"]
    assert (went_on["runtime"], went_on["instead_of"]) == ("extractive", "big")
    assert "Tannhof" not in sent_to_models(behaviour)
    record = json.loads(service.inhouse("audit", "list", "--tag", "question:asked", "--limit", "1", "--json").stdout)
    assert (record["payload"]["chosen"], record["payload"]["model"]) == ("big", "extractive")


def test_a_model_is_chosen_on_the_page_for_a_conversation_and_named_with_each_answer(
    house: tuple[Any, Any, Path], open_browser: Callable[..., Any]
) -> None:
    service, behaviour, _ = house
    dora = open_browser(service, service.keys["dora"])
    first = dora.ask(LEAVE, kb="handbook", model="big")
    began = first["begin"]["conversation"]
    assert "big:latest" in first["done"]["html"]
    assert '<option value="big" data-model="big" data-place="on this server" selected>' in dora.get(f"/c/{began}")
    confidential = dora.ask(MERGER, conversation=began, model="big")
    assert "big was chosen; it may not be sent all of what was found" in confidential["done"]["html"]
    # What was answered before goes along with the next question.
    later = dora.ask(LEAVE, kb="handbook", conversation=began, model="big")
    assert "big was chosen" in later["done"]["html"]
    dora.ask(LEAVE, kb="handbook", conversation=began)
    assert "Tannhof" not in sent_to_models(behaviour)
    assert " selected" not in dora.get(f"/c/{began}").partition('id="model"')[2]
    assert dora.send("POST", "/web/ask", {"question": LEAVE, "model": "small"}).status_code == 404
    assert 'id="model"' not in open_browser(service, service.keys["root"]).get("/")


def test_a_model_is_chosen_on_the_command_line(house: tuple[Any, Any, Path]) -> None:
    service, _, _ = house
    assert "Model: big:latest." in service.inhouse("ask", LEAVE, "--as", "ana", "--model", "big").stdout
    told = service.inhouse("ask", MERGER, "--as", "dora", "--model", "big").stdout
    assert "big was chosen; it may not be sent all of what was found." in told
    assert "Model: extractive." in told
    refused = service.inhouse("ask", LEAVE, "--as", "ana", "--model", "small")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "Choose one of: big." in refused.stderr


def test_what_policy_shows_to_no_model_is_found_and_not_answered_from(
    house: tuple[Any, Any, Path], start_service: Any, open_browser: Callable[..., Any]
) -> None:
    service, behaviour, policies = house
    before = open_browser(service, service.keys["dora"]).ask(MERGER)["begin"]["conversation"]
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
        # What was answered under the old policies may still be read, and is not what a model is told.
        dora = open_browser(running, running.keys["dora"])
        assert "big:latest" in dora.ask(LEAVE, conversation=before, model="big")["done"]["html"]
    assert "Tannhof" not in sent_to_models(behaviour)
