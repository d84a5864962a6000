"""The passages as a LlamaIndex node parser, whose spans are right by construction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode
from pydantic import Field

from ingest.passages import SIZE, Count, passages
from vectorstore.types import Page, PassageDraft


class PassageParser(NodeParser):
    """Makes TextNodes with `start_char_idx`, `end_char_idx`, and `page` and `heading` in their metadata.

    The stock splitter looks each chunk up in the text and reports wrong spans where text repeats; this one carries its
    spans along. A node may bring its pages as `pages` in its metadata, a list of [number, start, end].
    """

    count: Count = Field(exclude=True, description="Lengths of texts in the embedder's own word pieces.")
    size: int = Field(SIZE, description="Most word pieces of a passage.")

    @classmethod
    def class_name(cls) -> str:
        """The name that LlamaIndex stores."""
        return "PassageParser"

    def drafts(self, text: str, pages: Sequence[Page]) -> tuple[PassageDraft, ...]:
        """The passages of one document, through the node parser's own path."""
        document = TextNode(text=text, metadata={"pages": [[page.number, page.start, page.end] for page in pages]})
        return tuple(
            PassageDraft(
                start=node.start_char_idx or 0,
                end=node.end_char_idx or 0,
                text=node.text,
                page=node.metadata["page"],
                heading=tuple(node.metadata["heading"]),
            )
            for node in self._parse_nodes([document])
            if isinstance(node, TextNode)
        )

    def _parse_nodes(self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any) -> list[BaseNode]:
        made: list[BaseNode] = []
        for node in nodes:
            assert isinstance(node, TextNode)
            pages = [Page(*page) for page in node.metadata.get("pages", [])]
            # It holds a hash over the whole text: made for each passage, a long document would cost its length squared.
            source = node.as_related_node_info()
            made += [_node(draft, source) for draft in passages(node.text, pages, self.count, self.size)]
        return made


def _node(draft: PassageDraft, source: RelatedNodeInfo) -> TextNode:
    return TextNode(
        text=draft.text,
        start_char_idx=draft.start,
        end_char_idx=draft.end,
        metadata={"page": draft.page, "heading": list(draft.heading)},
        relationships={NodeRelationship.SOURCE: source},
    )
