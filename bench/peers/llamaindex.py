"""What the LlamaIndex peers have in common: documents as its directory reader makes them, the default splitter, the weights
through its Hugging Face embedding, and Chroma on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contract import joined, lines, weights

PACKAGES = (
    "llama-index-core",
    "llama-index-embeddings-huggingface",
    "llama-index-vector-stores-chroma",
    "llama-index-retrievers-bm25",
    "chromadb",
    "sentence-transformers",
    "torch",
)

_NAME = "file_name"


def embedding() -> Any:
    """The weights, loaded; everything else as the class has it (10 texts in a batch, length as the model says)."""
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    return HuggingFaceEmbedding(model_name=weights())


def nodes(corpus: Path) -> list[Any]:
    """The corpus through the default splitter: 1024 tokens, 200 of them shared with the next."""
    from llama_index.core import Document
    from llama_index.core.node_parser import SentenceSplitter

    # As SimpleDirectoryReader does it: the name is kept beside the text, and neither embedded nor shown to a model.
    hidden = [_NAME]
    documents = [
        Document(
            text=joined(one),
            metadata={_NAME: str(one["_id"])},
            excluded_embed_metadata_keys=hidden,
            excluded_llm_metadata_keys=hidden,
        )
        for one in lines(corpus)
    ]
    return SentenceSplitter().get_nodes_from_documents(documents)


def vector_store(folder: Path) -> Any:
    """A Chroma collection of its own in a folder, as the integration's page makes it."""
    import chromadb
    from llama_index.vector_stores.chroma import ChromaVectorStore

    client = chromadb.PersistentClient(path=str(folder))
    return ChromaVectorStore(chroma_collection=client.create_collection("documents"))


def index_of(made: list[Any], folder: Path, model: Any) -> Any:
    """Embeds nodes into a new Chroma collection."""
    from llama_index.core import StorageContext, VectorStoreIndex

    context = StorageContext.from_defaults(vector_store=vector_store(folder))
    return VectorStoreIndex(made, storage_context=context, embed_model=model)


def names(found: list[Any]) -> list[str]:
    """The document of each node with a score, in order."""
    return [str(one.node.metadata[_NAME]) for one in found]
