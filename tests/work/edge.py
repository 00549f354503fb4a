"""A server's state without a server: all that a request meets before it is given to the engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cierzo.api.metrics import Metrics
from cierzo.api.openai import chat, completions, tokens
from cierzo.api.openai.dialect import OPENAI
from cierzo.api.served_model import served_model
from cierzo.api.service import Service
from cierzo.engine.messages import EngineInfo, EngineLaunch
from cierzo.engine.process.client import EngineClient
from cierzo.generate.model import Model, read_language
from cierzo.model.fetch.registry import ModelEntry
from cierzo.model.readers.contents import TokenizerSource
from cierzo.settings import Settings
from tests.chat.vocabularies import hf_source, tekken_source
from tests.support.tokenizers import CHATML_TEMPLATE, bpe_tokenizer_json, tekken_json

CONTEXT = 1 << 24  # tokens: no text is refused for its length


class Edge:
    """Reads requests as the routes do."""

    def __init__(self, source: TokenizerSource) -> None:
        settings = Settings()
        client = EngineClient(EngineLaunch(path="", settings=settings.engine))
        language = read_language(source)
        words = language.tokenizer
        client._supervisor.info = EngineInfo(
            pid=0,
            backend="cpu",
            threads=1,
            max_model_len=CONTEXT,
            vocab_size=words.vocab_size,
            num_blocks=1,
            max_batch_sequences=64,
            memory_plan="",
            fingerprint="",
        )
        served = served_model(ModelEntry("tiny"), ())
        self.service = Service(settings, client, served, Metrics(client))
        self.model = Model(language, CONTEXT, words.vocab_size)
        assert language.max_token_bytes  # found out once, not by the first request

    def chat(self, body: bytes) -> object:
        """A request to chat, made into jobs."""
        request = chat.read_request(self.service, body, OPENAI)
        return chat.prepared(self.service, self.model, request, OPENAI)

    def complete(self, body: bytes) -> object:
        """A request to go on with texts, made into jobs."""
        return completions.prepared(self.service, self.model, body, OPENAI)

    def tokenize(self, body: bytes) -> object:
        """The tokens of a text."""
        return tokens.tokens_of(self.service, self.model, body, OPENAI)

    def detokenize(self, body: bytes) -> object:
        """The text of tokens."""
        return tokens.text_of(self.service, self.model, body, OPENAI)


def source_of(kind: str, folder: Path) -> TokenizerSource:
    """A model with a Jinja template, or with Mistral's own format (`mistral`)."""
    if kind == "mistral":
        path = folder / "tekken.json"
        path.write_text(tekken_json())
        return tekken_source(path)
    path = folder / "tokenizer.json"
    path.write_text(bpe_tokenizer_json())
    return replace(hf_source(path), chat_template=CHATML_TEMPLATE)
