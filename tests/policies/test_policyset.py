"""A policy set that is empty, invalid, or that a careful reader would doubt refuses to start."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from policies.access.engine import PolicyEngine
from policies.access.policyset import DEFAULTS, load
from policies.errors import PolicyError

LEVELS = ("public", "internal", "confidential")
READS = 'permit (principal is Person, action == Action::"retrieve", resource is AccessClass)'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An organisation's own directory: the packaged schema, no policy yet."""
    shutil.copy(DEFAULTS / "schema.cedarschema", tmp_path)
    return tmp_path


def refusal(directory: Path) -> str:
    with pytest.raises(PolicyError) as caught:
        PolicyEngine(directory, LEVELS)
    assert caught.value.hint
    return caught.value.message


def test_the_defaults_load_and_each_policy_says_what_it_is_for() -> None:
    loaded = load(DEFAULTS)
    assert "local-owner" in {one.id for one in loaded.entries}
    assert all(one.description for one in loaded.entries)


def test_each_default_file_is_one_concern_named_after_its_policies() -> None:
    for path in DEFAULTS.glob("*.cedar"):
        identifiers = [line.split('"')[1] for line in path.read_text().splitlines() if line.startswith("@id(")]
        assert identifiers, path.name
        assert all(identifier.startswith(path.stem) for identifier in identifiers), path.name


def test_no_file_is_refused(directory: Path) -> None:
    assert "there is no policy" in refusal(directory)


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    assert "there is no policy" in refusal(tmp_path / "nowhere")


def test_files_without_a_policy_are_refused(directory: Path) -> None:
    (directory / "empty.cedar").write_text("// nothing yet\n")
    assert "empty" in refusal(directory)


def test_no_schema_or_two_are_refused(directory: Path) -> None:
    (directory / "readers.cedar").write_text(f'@id("a")\n{READS};')
    shutil.copy(directory / "schema.cedarschema", directory / "other.cedarschema")
    assert "exactly one schema" in refusal(directory)
    for path in directory.glob("*.cedarschema"):
        path.unlink()
    assert "exactly one schema" in refusal(directory)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("permit (principal, action, resource", "does not parse"),
        (f"{READS};", "without an @id"),
        (f'@id("") {READS};', "without an @id"),
        (f'@id("a") {READS}; @id("a") {READS};', "two policies"),
        ('@id("a") permit (principal == ?principal, action, resource);', "template"),
        ('@id("a") permit (principal is Person, action == Action::"fly", resource);', "does not validate"),
        (f'@id("a") {READS} when {{ resource.colour == "red" }};', "does not validate"),
        (f'@id("a") {READS} when {{ resource.classification < "2" }};', "does not validate"),
        (f'@id("a") {READS} when {{ context.hour < 9 }};', "does not validate"),
    ],
)
def test_an_invalid_policy_is_refused(directory: Path, policy: str, said: str) -> None:
    (directory / "own.cedar").write_text(policy)
    assert said in refusal(directory)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (f'@id("a") {READS} when {{ false }};', "can never apply"),
        (f'@id("a") {READS} unless {{ true }};', "can never apply"),
        (f'@id("a") {READS} when {{ principal has colour }};', "can never apply"),
        (f'@id("a") {READS} when {{ resource is Person && resource.clearance > 1 }};', "can never apply"),
        (f'@id("a") {READS} when {{ principal in resource }};', "can never apply"),
        ('@id("a") forbid (principal, action, resource) when { resource is Action };', "does not validate|can never apply"),
        (f'@id("a") {READS} when {{ resource.kb == "p\\u{{430}}y" }};', "mixes letters of cyrillic and latin"),
        (f'@id("a") {READS} when {{ resource.kb == "pаy" }};', "mixes letters of cyrillic and latin"),
        (f'@id("a") {READS} when {{ resource.kb == "a\\u{{202e}}b" }};', "do not show"),
        (f'@id("a") {READS} when {{ resource.kb == "a\u200bb" }};', "do not show"),
    ],
)
def test_what_cedar_would_only_warn_of_is_refused(directory: Path, policy: str, said: str) -> None:
    # A sound policy beside it changes nothing.
    (directory / "readers.cedar").write_text(f'@id("readers") {READS};')
    (directory / "own.cedar").write_text(policy, encoding="utf-8")
    assert any(part in refusal(directory) for part in said.split("|"))


def test_a_description_may_be_in_any_script(directory: Path) -> None:
    (directory / "own.cedar").write_text(f'@id("a") @description("Читатели read") {READS};', encoding="utf-8")
    assert PolicyEngine(directory, LEVELS).descriptions == {"a": "Читатели read"}


def test_one_file_cannot_finish_the_sentence_of_another(directory: Path) -> None:
    (directory / "1.cedar").write_text(f'@id("a") {READS}')
    (directory / "2.cedar").write_text('unless { principal.roles.contains("guest") };')
    assert "1.cedar does not parse" in refusal(directory)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('action "retrieve", ', "action ", "retrieve"),
        ('"groups": Set<String>,\n  "clearance"', '"groups": Set<Long>,\n  "clearance"', "plain request"),
        ("entity System;", 'entity System;\ntype System = {"a": Long};', "two meanings"),
        ("entity System;", "entity System;\ntype ipaddr = String;", "two meanings"),
        ("entity System;", "entity System", "the schema does not parse"),
    ],
)
def test_a_schema_that_would_deny_all_by_error_is_refused(directory: Path, old: str, new: str, said: str) -> None:
    (directory / "own.cedar").write_text('@id("a") permit (principal, action == Action::"audit.read", resource);')
    schema = directory / "schema.cedarschema"
    text = schema.read_text()
    assert old in text
    schema.write_text(text.replace(old, new))
    assert said in refusal(directory)


def test_text_that_is_no_utf8_is_refused(directory: Path) -> None:
    (directory / "own.cedar").write_bytes(b'@id("\xff")')
    assert "cannot read" in refusal(directory)


@pytest.mark.parametrize("levels", [(), ("a", "a"), ("a", "")])
def test_levels_must_be_distinct_names(levels: tuple[str, ...]) -> None:
    with pytest.raises(PolicyError, match="distinct"):
        PolicyEngine(None, levels)


def test_the_hash_names_files_contents_and_the_order_of_levels(directory: Path) -> None:
    own = directory / "own.cedar"
    own.write_text(f'@id("a") {READS};')
    first = PolicyEngine(directory, LEVELS).hash
    assert PolicyEngine(directory, LEVELS).hash == first
    assert PolicyEngine(directory, LEVELS[::-1]).hash != first
    own.write_text(f'@id("a") {READS}; // a word')
    assert PolicyEngine(directory, LEVELS).hash != first
    own.write_text(f'@id("a") {READS};')
    own.rename(directory / "renamed.cedar")
    assert PolicyEngine(directory, LEVELS).hash != first
