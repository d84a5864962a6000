"""The embedders' own promises: the same model without torch, little lost by quantising, weights checked, other models."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.errors import DataDirectoryError, SettingsError
from vectorstore.embedders import onnx, weights
from vectorstore.embedders.factory import load_embedder
from vectorstore.embedders.onnx import OnnxEmbedder, prepare
from vectorstore.embedders.sentence_transformers import SentenceTransformersEmbedder
from vectorstore.embedders.weights import PINNED, packaged_weights, sha256_of
from vectorstore.types import Vectors

with_extra = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="needs the extra: pip install torch 'inhouse[sentence-transformers]'",
)
VARIED = [
    "How many days of annual leave do staff have?",
    "Leave",
    "",
    " \n\t ",
    "\x00\u200b",
    "Staff have 30 days of annual leave; requests go to the line manager by 1 March of the year before. " * 4,
    "The calibration of the HM-40 is repeated every twelve months against the reference block. " * 40,
    "| Grade | From | To |\n| --- | --- | --- |\n| A1 | 41,000 | 52,500 |\n",
    "Größe, naïve café — 4 °C … “quoted” ‘so’",
    "你好。再见。 日本語の文章 🙂 Ελληνικά русский עברית",
    "def main(argv: list[str]) -> int:\n    return len(argv) if argv else -1\n",
    "[CLS] a [SEP] b [PAD] c [MASK] d [UNK]",
    "0123456789 " * 60,
    "x" * 5000,
    "AAAA bbbb " * 200,
    "pneumonoultramicroscopicsilicovolcanoconiosis " * 30,
    "https://example.invalid/path?query=1&other=2#fragment and mail@example.invalid",
    "!!! ??? ... --- ___ ((( )))",
]


@with_extra
def test_the_graph_without_torch_is_the_model_of_sentence_transformers(onnx_model: Path) -> None:
    ours = OnnxEmbedder(onnx_model, threads=2, quantised=False)
    theirs = SentenceTransformersEmbedder(packaged_weights(), threads=2)
    texts = [*VARIED, *(" ".join(VARIED[row % 18].split()[: row + 1]) for row in range(40))]
    np.testing.assert_allclose(ours.embed(texts), theirs.embed(texts), rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.embed_query(VARIED[0]), theirs.embed_query(VARIED[0]), rtol=0, atol=1e-5)
    assert ours.count(texts) == theirs.count(texts)
    assert ours.window == theirs.window
    assert ours.fingerprint.dimension == theirs.fingerprint.dimension


QUESTIONS, DOCUMENTS = 120, 300


def scifact(folder: Path) -> tuple[dict[str, str], dict[str, dict[str, int]], dict[str, str]]:
    """Every other question of SciFact's test split, its judgements, and a collection of the documents that answer these
    with a fixed sample of others."""
    relevant: dict[str, dict[str, int]] = {}
    with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if int(row["score"]) > 0:
                relevant.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])

    def lines(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]

    asked = [one for one in lines("queries.jsonl") if str(one["_id"]) in relevant][::2][:QUESTIONS]
    questions = {str(one["_id"]): str(one["text"]) for one in asked}
    texts = {str(one["_id"]): f"{one['title']}\n{one['text']}" for one in lines("corpus.jsonl")}
    judged = sorted({document for question in questions for document in relevant[question]})
    others = random.Random(7).sample(sorted(set(texts) - set(judged)), DOCUMENTS - len(judged))
    return questions, relevant, {one: texts[one] for one in [*judged, *others]}


def ndcg_at_10(scores: Any, names: Sequence[str], relevant: Mapping[str, int]) -> float:
    ranked = [names[row] for row in np.argsort(-scores, kind="stable")[:10]]
    gained = sum(relevant.get(one, 0) / math.log2(place + 2) for place, one in enumerate(ranked))
    ideal = sum(grade / math.log2(place + 2) for place, grade in enumerate(sorted(relevant.values(), reverse=True)[:10]))
    return gained / ideal


@pytest.mark.slow
def test_quantising_loses_less_than_one_per_cent_of_ndcg(onnx_model: Path, test_data: Path) -> None:
    """On a part of SciFact by meaning alone, so that it ends soon; bench/embedders.py --ndcg gives the figure on all of it."""
    questions, relevant, texts = scifact(test_data / "scifact")
    assert (len(questions), len(texts)) == (QUESTIONS, DOCUMENTS)
    reached: dict[bool, float] = {}
    vectors: dict[bool, Vectors] = {}
    for quantised in (True, False):
        embedder = OnnxEmbedder(onnx_model, threads=len(os.sched_getaffinity(0)), quantised=quantised)
        vectors[quantised] = embedder.embed(list(texts.values()))
        asked = np.concatenate([embedder.embed_query(text) for text in questions.values()])
        gains = [
            ndcg_at_10(row, list(texts), relevant[one])
            for one, row in zip(questions, asked @ vectors[quantised].T, strict=True)
        ]
        reached[quantised] = float(np.mean(gains))
    assert reached[False] > 0.8
    assert reached[True] >= 0.99 * reached[False], reached
    # Quantising moves the vector of an abstract a little and never far; the lowest cosine seen was 0.989.
    assert float(np.sum(vectors[True] * vectors[False], axis=1).min()) >= 0.98


# The weights.


def installed_elsewhere(folder: Path, changed: str) -> Path:
    """The package with the weights as a second installation, one byte of one of its files changed."""
    source = packaged_weights()
    site, name = source.parent.parent, source.parent.name
    for path in [*site.glob(f"{name}-*.dist-info/*"), *(source / pinned for pinned in PINNED)]:
        copy = folder / path.relative_to(site)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.name == changed:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            copy.write_bytes(data)
        elif path.is_file():
            copy.symlink_to(path)
    return folder / name / source.name


@pytest.mark.parametrize("name", sorted(PINNED))
def test_weights_with_one_changed_byte_are_refused_and_nothing_is_built(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = installed_elsewhere(tmp_path / "site", changed=name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(DataDirectoryError, match="is not the file") as caught:
        prepare(tmp_path / "models" / "onnx")
    assert str(elsewhere / name) in caught.value.message
    assert "pip install" in caught.value.hint
    assert not (tmp_path / "models").exists()


def test_the_same_installation_without_the_change_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = installed_elsewhere(tmp_path / "site", changed="nothing")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert packaged_weights() == elsewhere


def test_weights_that_are_not_installed_say_what_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PACKAGE", "a-package-that-nobody-has")
    with pytest.raises(DataDirectoryError, match="not installed") as caught:
        packaged_weights()
    assert "requirements.lock" in caught.value.hint


# The directory that is built from them: whole or not there.

KILLED = """
import os, signal, sys
from pathlib import Path
from vectorstore.embedders import onnx
def kill(*arguments, **named):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "quantising":
    import onnxruntime.quantization
    onnxruntime.quantization.quantize_dynamic = kill
else:
    os.replace = kill
onnx.prepare(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_build_killed_anywhere_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    model = tmp_path / "models" / "onnx"
    for moment in ("quantising", "moving"):
        command = [sys.executable, "-c", KILLED, str(model), moment]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert [one.name for one in model.parent.iterdir() if not one.name.startswith(".building-")] == []
        with pytest.raises(DataDirectoryError) as caught:
            OnnxEmbedder(model, threads=1)
        assert "inhouse init" in caught.value.hint
    prepare(model)
    assert [one.name for one in model.parent.iterdir()] == ["onnx"], "what the killed builds left is still there"
    assert OnnxEmbedder(model, threads=1).embed(["leave"]).shape == (1, 384)


@pytest.fixture
def cannot_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up in the middle of every build."""

    def fail(source: Path, work: Path) -> None:
        (work / "model.onnx").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "_build", fail)


@pytest.mark.usefixtures("cannot_build")
def test_a_build_that_fails_leaves_nothing_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError, match="No space left") as caught:
        prepare(tmp_path / "models" / "onnx")
    assert "space" in caught.value.hint
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.usefixtures("cannot_build")
def test_a_place_that_takes_no_directory_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file", encoding="utf-8")
    with pytest.raises(DataDirectoryError, match="cannot build"):
        prepare(tmp_path / "models" / "onnx")


def linked(model: Path, target: Path) -> Path:
    target.mkdir(parents=True)
    for path in model.iterdir():
        (target / path.name).symlink_to(path)
    return target


@pytest.mark.usefixtures("cannot_build")
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, damage) for name in ("model.onnx", "model-int8.onnx", "tokenizer.json") for damage in ("absent", "changed")),
        *(("manifest.json", damage) for damage in ("absent", "changed", "older", "older graph")),
    ],
)
def test_a_model_that_is_whole_is_kept_and_one_that_is_not_is_built_anew(
    name: str, damage: str, onnx_model: Path, tmp_path: Path
) -> None:
    model = linked(onnx_model, tmp_path / "models" / "onnx")
    prepare(model)
    original = (model / name).read_bytes()
    (model / name).unlink()
    if damage == "changed":
        (model / name).write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    elif damage == "older":
        (model / name).write_text(json.dumps({**json.loads(original), "form": 0}), encoding="utf-8")
    elif damage == "older graph":
        (model / name).write_text(json.dumps({**json.loads(original), "graph": 1}), encoding="utf-8")
        with pytest.raises(DataDirectoryError, match="of this version") as refused:
            OnnxEmbedder(model, threads=1)
        assert "inhouse init" in str(refused.value.hint)
    with pytest.raises(DataDirectoryError, match="cannot build"):
        prepare(model)
    # The old one is not thrown away before a new one is there.
    assert len(list(model.iterdir())) >= 3


# Any other model.


WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "leave", "days", "annual", "staff", "have", "hotel")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model directory of a BERT of two layers with random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    parts, folder = tmp_path_factory.mktemp("parts"), tmp_path_factory.mktemp("models") / "tiny"
    (parts / "vocab.txt").write_text("\n".join([*WORDS, *LETTERS, *("##" + one for one in LETTERS)]), encoding="utf-8")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    # What makes it prints and warns as it likes.
    with warnings.catch_warnings(action="ignore"), torch.random.fork_rng():
        torch.manual_seed(7)
        BertModel(BertConfig(vocab_size=200, max_position_embeddings=128, **sizes)).save_pretrained(parts)
        BertTokenizerFast(str(parts / "vocab.txt"), model_max_length=64).save_pretrained(parts)
        transformer = Transformer(str(parts), max_seq_length=64)
        SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu").save(str(folder))
    return folder


LABELS = '[[rule]]\nglob = "*.md"\nkb = "k"\nclassification = "internal"\ngroups = ["staff"]\nowner = "o"\n'


@pytest.fixture
def commands(inhouse: Any, inhouse_within: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs the command line with these settings and no others; what it printed and said."""
    for name in [name for name in os.environ if name.startswith("INHOUSE_")]:
        monkeypatch.delenv(name)

    def ran(*arguments: str, code: int = 0, process: bool = False, **environment: str) -> str:
        done = (inhouse if process else inhouse_within)(tmp_path / "unnamed", *arguments, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        return str(done.stdout + done.stderr)

    return ran


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    (made / "labels.toml").write_text(LABELS, encoding="utf-8")
    (made / "leave.md").write_text("# Leave\n\nStaff have thirty days of annual leave.\n", encoding="utf-8")
    (made / "hotel.md").write_text("# Hotels\n\nHotels are paid up to a limit.\n", encoding="utf-8")
    return made


@with_extra
@pytest.mark.slow
def test_any_local_model_directory_works_by_setting_and_its_index_is_for_it_alone(
    tiny_model: Path, folder: Path, tmp_path: Path, commands: Callable[..., str]
) -> None:
    data, new = str(tmp_path / "data"), str(tmp_path / "new")
    tiny = {"INHOUSE_EMBEDDING__KIND": "sentence-transformers", "INHOUSE_EMBEDDING__MODEL": str(tiny_model)}
    other = {"INHOUSE_EMBEDDING__KIND": "hashing"}
    # In a process of its own, where nothing has loaded torch before.
    said = commands("init", "--data", data, process=True, **tiny)
    assert "tiny/sentence-transformers dimension=32" in said
    assert "Loading" not in said
    commands("ingest", str(folder), "--data", data, **tiny)
    hits = json.loads(commands("search", "annual leave", "--json", "--data", data, **tiny))["hits"]
    assert hits[0]["path"] == "leave.md"

    for verb in (["search", "annual leave"], ["ask", "annual leave?"], ["ingest", str(folder)], ["init"]):
        refused = commands(*verb, "--data", data, code=13, **other)
        assert "tiny/sentence-transformers" in refused
        assert "hashing" in refused
    # What it says to do is done to the letter, with the names filled in.
    mending = re.findall(r"inhouse ((?:init|ingest)[^&\n]*)", refused)
    assert len(mending) == 2
    for command in mending:
        commands(*command.replace("NEW", new).replace("FOLDER", str(folder)).split(), **other)
    hits = json.loads(commands("search", "annual leave", "--json", "--data", new, **other))["hits"]
    assert hits[0]["path"] == "leave.md"
    # The other way out that it names: the old index is whole for the embedder that it was made with.
    assert json.loads(commands("search", "annual leave", "--json", "--data", data, **tiny))["hits"]


@with_extra
def test_a_model_trained_on_is_another_model(tiny_model: Path, tmp_path: Path) -> None:
    changed = tmp_path / "tiny"
    for path in tiny_model.rglob("*"):
        if path.is_file():
            (changed / path.relative_to(tiny_model)).parent.mkdir(parents=True, exist_ok=True)
            (changed / path.relative_to(tiny_model)).write_bytes(path.read_bytes())
    before = load_embedder("sentence-transformers", model=changed, threads=1).fingerprint
    assert before == load_embedder("sentence-transformers", model=tiny_model, threads=1).fingerprint
    weights_file = changed / "model.safetensors"
    data = bytearray(weights_file.read_bytes())
    data[-2] ^= 1
    weights_file.write_bytes(data)
    assert sha256_of(weights_file) != sha256_of(tiny_model / "model.safetensors")
    assert load_embedder("sentence-transformers", model=changed, threads=1).fingerprint != before


def test_a_name_on_a_hub_is_no_model_directory(tmp_path: Path) -> None:
    for name in (tmp_path, tmp_path / "none", Path("sentence-transformers/all-MiniLM-L6-v2")):
        with pytest.raises(SettingsError, match="not the directory") as caught:
            load_embedder("sentence-transformers", model=name, threads=1)
        assert "nothing is ever downloaded" in caught.value.hint


def test_without_the_extra_the_setting_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules.json").write_text("[]", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SettingsError, match="needs the extra") as caught:
        load_embedder("sentence-transformers", model=tmp_path, threads=1)
    assert "pip install torch" in caught.value.hint


def test_a_kind_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no embedder 'magic'") as caught:
        load_embedder("magic", model=tmp_path, threads=1)
    assert caught.value.hint == "One of: hashing, onnx, sentence-transformers."
