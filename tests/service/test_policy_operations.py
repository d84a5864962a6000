"""`inhouse policy`: a set checked, a decision explained, another set simulated, and a table of expectations tested."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from policies.audit.query import records
from service.settings import load_settings
from service.web.application import create_site
from service.wiring import Installation

Inhouse = Callable[..., subprocess.CompletedProcess[str]]
EMBARGO = """
@id("embargo")
@description("The board's papers are for its secretaries until they are published.")
forbid (principal is Person, action == Action::"retrieve", resource is AccessClass)
when { resource.kb == "board" }
unless { principal.groups.contains("secretaries") };

@id("handbook-for-auditors")
@description("Auditors read the handbook too.")
permit (principal is Person, action == Action::"retrieve", resource is AccessClass)
when { resource.kb == "handbook" && principal.roles.contains("auditor") };
"""
TABLE = """
[[expect]]
who = "ana"
what = "board/merger.md"
allowed = false

[[expect]]
who = "dora"
what = "board/merger.md"
allowed = true
by = "readers"

[[expect]]
who = { clearance = "internal", groups = ["sales"] }
what = { kb = "main", classification = "internal", groups = ["sales"], owner = "team" }
action = "open"
allowed = true

[[expect]]
who = "audra"
action = "audit.export"
allowed = true
"""


@pytest.fixture(scope="module")
def house(
    make_indexed: Any, inhouse_within: Inhouse, tmp_path_factory: pytest.TempPathFactory, repository: Path
) -> tuple[Path, Callable[..., subprocess.CompletedProcess[str]], Path]:
    """A data directory with a steward of what is internal, its command line, and an organisation's own policies."""
    root = tmp_path_factory.mktemp("p")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INHOUSE_EMBEDDING__KIND", "hashing")
        data, _, _ = make_indexed(root)
    own = Path(shutil.copytree(repository / "policies" / "defaults", root / "own"))
    (own / "embargo.cedar").write_text(EMBARGO)

    def inhouse(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return inhouse_within(data, *arguments, INHOUSE_EMBEDDING__KIND="hashing", **environment)

    assert inhouse("people", "add", "stew", "--name", "Stew", "--clearance", "internal", "--role", "steward").returncode == 0
    return data, inhouse, own


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def newest(data: Path) -> Any:
    return next(records(data / "audit", limit=1))


def test_a_check_lists_each_policy_and_says_whether_the_set_is_in_force(house: Any) -> None:
    _, inhouse, own = house
    defaults = told(inhouse("policy", "check", "--json"))
    assert defaults["in_force"]
    assert all(one["description"] and one["effect"] in ("permit", "forbid") for one in defaults["policies"])
    checked = told(inhouse("policy", "check", str(own), "--json"))
    assert not checked["in_force"]
    assert {one["id"] for one in checked["policies"]} - {one["id"] for one in defaults["policies"]} == {
        "embargo",
        "handbook-for-auditors",
    }
    assert told(inhouse("status", "--json"))["policy"] == defaults["hash"]
    assert told(inhouse("policy", "check", "--json", INHOUSE_ACCESS__POLICIES=str(own)))["hash"] == checked["hash"]
    said = inhouse("policy", "check", str(own)).stdout
    assert "embargo (forbid, embargo.cedar): The board's papers are for its secretaries until they are published." in said


def test_a_set_that_would_not_start_is_refused_with_its_fault_and_that_is_recorded(house: Any, tmp_path: Path) -> None:
    data, inhouse, own = house
    broken = Path(shutil.copytree(own, tmp_path / "broken"))
    never = '@id("never") forbid (principal, action == Action::"open", resource is AccessClass) when { false };'
    (broken / "never.cedar").write_text(never)
    done = inhouse("policy", "check", str(broken))
    assert done.returncode == 12
    assert "'never' can never apply" in done.stderr
    assert (newest(data).tag, newest(data).payload["outcome"]) == ("policy:checked", "refused")
    # With it in force nobody may ask anything, and its owner can still look at one that is sound.
    assert inhouse("search", "leave", INHOUSE_ACCESS__POLICIES=str(broken)).returncode == 12
    assert inhouse("policy", "check", str(own), INHOUSE_ACCESS__POLICIES=str(broken)).returncode == 0
    assert inhouse("policy", "check", str(own), "--as", "audra", INHOUSE_ACCESS__POLICIES=str(broken)).returncode == 12


def test_an_explanation_says_what_was_decided_by_what_from_what_and_what_would_turn_it(house: Any) -> None:
    data, inhouse, _ = house
    found = told(inhouse("policy", "explain", "--principal", "ana", "--document", "board/merger.md", "--json"))
    assert (found["decision"], found["policies"]) == ("deny", [])
    assert found["document"]["title"] == "Merger"
    assert found["principal"] == {"id": "ana", "groups": ["everyone"], "clearance": "internal", "roles": ["user"]}
    assert found["label"]["groups"] == ["directors"]
    assert ["confidential", "directors"] in [[one["value"] for one in way["changes"]] for way in found["alternatives"]]
    record = newest(data)
    assert (record.tag, record.payload["person"], record.payload["decision"]) == ("policy:explained", "ana", "deny")
    assert record.payload["document"] == found["document"]["id"]
    said = inhouse("policy", "explain", "--principal", "dora", "--document", found["document"]["id"]).stdout
    assert "dora may retrieve: a policy permits it." in said
    assert "readers: Users read what one of their groups may read, up to their clearance." in said
    assert "- leaving the group directors" in said


def test_what_may_not_be_explained_is_as_absent(house: Any) -> None:
    _, inhouse, _ = house
    board = told(inhouse("policy", "explain", "--principal", "ana", "--document", "board/merger.md", "--json"))["document"][
        "id"
    ]
    leave = ("policy", "explain", "--principal", "ana", "--document", "leave.md", "--as", "stew")
    assert inhouse(*leave).returncode == 0
    for word in (board, "board/merger.md"):
        forbidden = inhouse("policy", "explain", "--principal", "ana", "--document", word, "--as", "stew")
        absent = inhouse("policy", "explain", "--principal", "ana", "--document", word + "0", "--as", "stew")
        assert forbidden.returncode == absent.returncode == 4
        assert forbidden.stderr == absent.stderr.replace(word + "0", word)
    # Who may have nothing explained is told so, whatever they name.
    refused = [inhouse(*leave[:-1], "ana", "--document", word) for word in ("leave.md", board, "doc-0")]
    assert {(one.returncode, one.stderr) for one in refused} == {(9, refused[0].stderr)}
    assert inhouse("policy", "explain", "--principal", "ana", "--action", "audit.read", "--as", "stew").returncode == 9


def test_an_auditor_has_any_decision_explained_and_no_title_shown(house: Any) -> None:
    _, inhouse, _ = house
    for document in ("board/merger.md", "leave.md"):
        asked = ("policy", "explain", "--principal", "dora", "--document", document, "--as", "audra")
        found = told(inhouse(*asked, "--json"))
        assert found["document"]["title"] is found["document"]["path"] is None
        assert "Merger" not in inhouse(*asked).stdout


def test_a_simulation_shows_who_would_gain_and_lose_and_changes_nothing(house: Any) -> None:
    data, inhouse, own = house
    before = told(inhouse("policy", "check", "--json"))["hash"]
    found = told(inhouse("policy", "simulate", "--policy", str(own), "--json"))
    changed = {one["person"]: one for one in found["changed"]}
    # Whoever owns the directory is no secretary either: a forbid is above every permit.
    assert set(changed) == {"audra", "dora", "local-owner"}
    lost = changed["dora"]["lost"]
    assert (lost["documents"], lost["classes"]) == (1, 1)
    assert [one["path"] for one in lost["examples"]] == ["board/merger.md"]
    assert [one["id"] for one in lost["of"][0]["policies"]] == ["embargo"]
    gained = changed["audra"]["gained"]
    assert (gained["documents"], gained["classes"], changed["audra"]["lost"]["classes"]) == (2, 1, 0)
    assert [one["id"] for one in gained["of"][0]["policies"]] == ["handbook-for-auditors"]
    assert told(inhouse("policy", "check", "--json"))["hash"] == before == found["in_force"]
    assert inhouse("documents", "list", "--prefix", "board", "--as", "dora").stdout.count("merger") == 1
    record = next(records(data / "audit", tag="policy:simulated", limit=1))
    assert (record.payload["changed"], record.payload["policy"]) == (3, found["hash"])
    assert (
        told(inhouse("policy", "simulate", "--policy", str(own.parent / "own"), "--action", "open", "--json"))["changed"] == []
    )
    said = inhouse("policy", "simulate", "--policy", str(own))
    assert "dora would lose retrieve on 1 document (1 access class):" in said.stdout


def test_a_simulation_shows_an_auditor_counts_and_no_names(house: Any) -> None:
    _, inhouse, own = house
    done = inhouse("policy", "simulate", "--policy", str(own), "--json", "--as", "audra")
    assert {one["documents"] for change in told(done)["changed"] for one in (change["gained"], change["lost"])} == {0, 1, 2}
    assert "merger" not in done.stdout.lower()
    for asker in ("stew", "ana"):
        assert inhouse("policy", "simulate", "--policy", str(own), "--as", asker).returncode == 9


def test_a_table_that_holds_passes_and_what_fails_is_explained(house: Any, tmp_path: Path) -> None:
    data, inhouse, own = house
    table = tmp_path / "expected.toml"
    table.write_text(TABLE)
    done = inhouse("policy", "test", str(table))
    assert (done.returncode, done.stdout) == (0, "4 of 4 expectations hold.\n")
    failing = inhouse("policy", "test", str(table), "--policy", str(own))
    assert failing.returncode == 18
    assert "Expectation 2 fails; expected: allowed by readers." in failing.stdout
    assert "embargo: The board's papers are for its secretaries until they are published." in failing.stdout
    assert "- membership in the group secretaries (readers)" in failing.stdout
    assert failing.stdout.endswith("3 of 4 expectations hold.\n")
    record = newest(data)
    assert (record.tag, record.payload["expectations"], record.payload["failed"]) == ("policy:tested", 4, 1)
    # That it is allowed is not enough where the policy is named.
    table.write_text(TABLE.replace('by = "readers"', 'by = "owners"'))
    assert json.loads(inhouse("policy", "test", str(table), "--json").stdout)["failed"][0]["number"] == 2


@pytest.mark.parametrize(
    ("table", "said", "code"),
    [
        ("", "expect: ", 2),
        ("expect = []", "expect: ", 2),
        ("[[expect", "is not TOML", 2),
        (TABLE + "colour = 'red'", "expect.4.colour: ", 2),
        (TABLE.replace('groups = ["sales"], owner', 'colour = 1, groups = ["sales"], owner'), "expect.3.what.colour: ", 2),
        (TABLE.replace("allowed = false", "allowed = 'no'"), "expect.1.allowed: ", 2),
        (TABLE.replace('"audit.export"', '"fly"'), "expectation 4: 'fly'", 2),
        (TABLE.replace('"audit.export"', '"open"'), "expectation 4: open is not decided on the installation", 2),
        (TABLE.replace('"open"', '"audit.read"'), "expectation 3: audit.read is not decided on a document", 2),
        (TABLE.replace('classification = "internal"', 'classification = "cosmic"'), "there is no level 'cosmic'", 2),
        (TABLE.replace('by = "readers"', 'by = "nobody"'), "there is no policy 'nobody'", 2),
        (TABLE.replace('"dora"', '"nobody"'), "there is no person 'nobody'", 4),
        (TABLE.replace("board/merger.md", "board/nothing.md"), "there is no document board/nothing.md", 4),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(house: Any, tmp_path: Path, table: str, said: str, code: int) -> None:
    _, inhouse, _ = house
    (tmp_path / "expected.toml").write_text(table)
    done = inhouse("policy", "test", str(tmp_path / "expected.toml"))
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


@pytest.fixture
def visit(house: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Any]]:
    """Gets a page as a person, in a browser of theirs."""
    from starlette.testclient import TestClient

    data, inhouse, _ = house
    monkeypatch.setenv("INHOUSE_EMBEDDING__KIND", "hashing")
    people = ("stew", "audra", "ana")
    keys = {person: told(inhouse("keys", "create", person, "--json"))["secret"] for person in people}
    with Installation(data, load_settings(data)) as installation:
        site = create_site(installation)

        def get(person: str, path: str) -> Any:
            client = TestClient(site, base_url="http://localhost")
            assert client.post("/web/sign-in", json={"credential": keys[person]}).status_code == 200
            return client.get(path)

        yield get


def test_a_page_explains_a_decision_to_who_may_ask_and_is_not_there_for_others(house: Any, visit: Any) -> None:
    data, inhouse, _ = house
    found = told(inhouse("documents", "list", "--json"))["documents"]
    ids = {one["path"]: one["id"] for one in found}
    path = f"/documents/{ids['leave.md']}/explain"
    page = visit("stew", f"{path}?person=ana&action=retrieve").text
    assert "ana may retrieve" in page
    assert "<code>readers</code> Users read what one of their groups may read, up to their clearance." in page
    assert "<li>losing the role user</li>" in page
    record = newest(data)
    assert (record.tag, record.actor, record.payload["person"]) == ("policy:explained", "stew", "ana")
    # What is a steward's is linked from its page, where they see it at all.
    assert path in visit("stew", f"/documents/{ids['leave.md']}").text
    forbidden, absent = (visit("stew", f"/documents/{one}/explain?person=ana") for one in (ids["board/merger.md"], "doc-0"))
    assert (forbidden.status_code, absent.status_code) == (404, 404)
    assert forbidden.text.replace(ids["board/merger.md"], "doc-0") == absent.text
    # An auditor asks about every document, and is shown no title of it.
    board = visit("audra", f"/documents/{ids['board/merger.md']}/explain?person=ana&action=open").text
    assert "the clearance raised to confidential and membership in the group directors" in board
    assert "Merger" not in board
    assert f'href="/documents/{ids["board/merger.md"]}"' not in board
    assert "merger" not in board
    hidden, nowhere = visit("ana", path), visit("ana", "/documents-of-nothing")
    assert hidden.status_code == nowhere.status_code == 404
    assert hidden.text == nowhere.text
