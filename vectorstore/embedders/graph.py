"""Writes a BERT sentence encoder straight into an ONNX graph from its safetensors, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

OPSET = 20
"""The first opset with Gelu."""


def build_graph(weights: Path, config: Path, target: Path) -> None:
    """Writes to `target` a model with the input `input_ids` (int64, batch x sequence) and the output `embedding` (float32,
    batch x hidden, unit length): BERT, then the mean over tokens, then normalisation. It knows no padding: a batch has texts
    of one length.

    `weights` are safetensors with the names of Hugging Face's BertModel. Raises ValueError for a config that is not
    BERT with exact GELU and absolute positions. Architecture: Devlin et al., arXiv 1810.04805; pooling: Reimers and
    Gurevych, arXiv 1908.10084.
    """
    settings = json.loads(config.read_text(encoding="utf-8"))
    if settings.get("model_type") != "bert" or settings.get("hidden_act") != "gelu":
        raise ValueError(f"{config} does not describe a BERT encoder with GELU")
    if settings.get("position_embedding_type", "absolute") != "absolute":
        raise ValueError(f"{config} asks for positions other than absolute")
    model = _Encoder(load_file(weights), settings).model()
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


class _Encoder:
    def __init__(self, tensors: dict[str, Any], settings: dict[str, Any]) -> None:
        self._tensors = {name.removeprefix("bert."): value for name, value in tensors.items()}
        self._settings = settings
        self._heads = int(settings["num_attention_heads"])
        self._hidden = int(settings["hidden_size"])
        self._epsilon = float(settings["layer_norm_eps"])
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def model(self) -> Any:
        hidden = self._embeddings()
        for index in range(int(self._settings["num_hidden_layers"])):
            hidden = self._layer(f"encoder.layer.{index}", hidden)
        self._pool(hidden)
        shape = ["batch", "sequence"]
        graph = helper.make_graph(
            self._nodes,
            "sentence_encoder",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", self._hidden])],
            list(self._constants.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)

    def _embeddings(self) -> str:
        words = self._node("Gather", [self._weight("embeddings.word_embeddings.weight"), "input_ids"])
        length = self._node("Shape", ["input_ids"], start=1, end=2)
        scalar = self._node("Squeeze", [length])
        zero, one = self._constant("zero", np.int64(0)), self._constant("one", np.int64(1))
        positions = self._node("Range", [zero, scalar, one])
        places = self._node("Gather", [self._weight("embeddings.position_embeddings.weight"), positions])
        # Every token is of the first sentence, so its type is a constant row.
        kind = self._constant("token_type", self._tensors["embeddings.token_type_embeddings.weight"][0])
        total = self._node("Add", [self._node("Add", [words, places]), kind])
        return self._normalise("embeddings.LayerNorm", total)

    def _layer(self, name: str, hidden: str) -> str:
        attended = self._attention(f"{name}.attention.self", hidden)
        projected = self._dense(f"{name}.attention.output.dense", attended)
        hidden = self._normalise(f"{name}.attention.output.LayerNorm", self._node("Add", [projected, hidden]))
        inner = self._node("Gelu", [self._dense(f"{name}.intermediate.dense", hidden)])
        outer = self._dense(f"{name}.output.dense", inner)
        return self._normalise(f"{name}.output.LayerNorm", self._node("Add", [outer, hidden]))

    def _attention(self, name: str, hidden: str) -> str:
        size = self._hidden // self._heads
        split = self._constant("split_heads", np.array([0, 0, self._heads, size], np.int64))
        merge = self._constant("merge_heads", np.array([0, 0, self._hidden], np.int64))

        def heads(part: str, order: list[int]) -> str:
            apart = self._node("Reshape", [self._dense(f"{name}.{part}", hidden), split])
            return self._node("Transpose", [apart], perm=order)

        query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
        scores = self._node("MatMul", [query, key])
        scaled = self._node("Mul", [scores, self._constant("scale", np.float32(size**-0.5))])
        weights = self._node("Softmax", [scaled], axis=-1)
        together = self._node("Transpose", [self._node("MatMul", [weights, value])], perm=[0, 2, 1, 3])
        return self._node("Reshape", [together, merge])

    def _pool(self, hidden: str) -> None:
        mean = self._node("ReduceMean", [hidden, self._constant("sequence_axis", np.array([1], np.int64))], keepdims=0)
        self._nodes.append(helper.make_node("LpNormalization", [mean], ["embedding"], axis=-1, p=2))

    def _dense(self, name: str, value: str) -> str:
        kernel = self._constant(f"{name}.kernel", np.ascontiguousarray(self._tensors[f"{name}.weight"].T))
        return self._node("Add", [self._node("MatMul", [value, kernel]), self._weight(f"{name}.bias")])

    def _normalise(self, name: str, value: str) -> str:
        inputs = [value, self._weight(f"{name}.weight"), self._weight(f"{name}.bias")]
        return self._node("LayerNormalization", inputs, axis=-1, epsilon=self._epsilon)

    def _weight(self, name: str) -> str:
        return self._constant(name, self._tensors[name])

    def _constant(self, name: str, value: Any) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output
