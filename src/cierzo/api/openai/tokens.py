"""`POST /tokenize`, `POST /detokenize`, `GET /tokenizer_info`: the model's tokens, as it has them.

Evaluations and agents count with them. The tokens of messages are those that a chat request with
the same messages and tools would have.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from cierzo.api.errors import bad_request
from cierzo.api.http.sse import json_response
from cierzo.api.openai.conversation import read_conversation
from cierzo.api.openai.dialect import OpenAiDialect, openai_dialect_of
from cierzo.api.openai.errors import api_error
from cierzo.api.openai.routing import check_model
from cierzo.api.openai.wire.chat import ChatRequest, check_chat_request
from cierzo.api.openai.wire.common import check_length
from cierzo.api.openai.wire.decode import decode_request
from cierzo.api.openai.wire.foreign import RequestDecoder
from cierzo.api.openai.wire.tokens import (
    DetokenizeRequest,
    TokenizeRequest,
    TokenizerInfo,
    TokenPiece,
    Tokens,
    TokensText,
    check_tokenize_request,
)
from cierzo.api.operations import Operation
from cierzo.api.service import Service
from cierzo.chat.tokenizers.control_text import encode_spelled
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.generate.model import Model
from cierzo.generate.prompt import check_text_size, prompt_tokens
from cierzo.generate.refused import Refused
from cierzo.settings import Limits

_TOKENIZE = RequestDecoder(TokenizeRequest)
_DETOKENIZE = RequestDecoder(DetokenizeRequest)


def operations(service: Service) -> list[Operation]:
    """The routes, where vLLM has them."""

    async def tokenize(request: Request) -> Response:
        """The tokens of a text, or of the prompt that messages become."""
        dialect = openai_dialect_of(request.scope)
        body = await request.body()
        model = service.model()
        run, size = service.threads.run, len(body)
        return json_response(await run(lambda: tokens_of(service, model, body, dialect), size))

    async def detokenize(request: Request) -> Response:
        """The text of tokens."""
        dialect = openai_dialect_of(request.scope)
        body = await request.body()
        model = service.model()
        run, size = service.threads.run, len(body)
        return json_response(await run(lambda: text_of(service, model, body, dialect), size))

    async def tokenizer_info(request: Request) -> Response:
        """What kind of tokenizer it is, and which tokens begin and end texts."""
        return json_response(_info(service.model()))

    return [
        Operation("POST", "/tokenize", tokenize, "tokens", TokenizeRequest, Tokens),
        Operation("POST", "/detokenize", detokenize, "tokens", DetokenizeRequest, TokensText),
        Operation("GET", "/tokenizer_info", tokenizer_info, "tokens", None, TokenizerInfo),
    ]


def tokens_of(service: Service, model: Model, body: bytes, dialect: OpenAiDialect) -> Tokens:
    """Runs in a thread. Raises ApiError."""
    limits = service.settings.limits
    request = decode_request(body, _TOKENIZE, limits)
    check_model(request.model, (), service.served, dialect)
    check_tokenize_request(request)
    ids = _ids(request, limits, model)
    words = model.language.tokenizer
    return Tokens(
        count=len(ids),
        max_model_len=model.max_model_len,
        tokens=_pieces(words, ids) if request.with_pieces else list(ids),
        token_strs=[_name(words, i) for i in ids] if request.return_token_strs else None,
    )


def _ids(request: TokenizeRequest, limits: Limits, model: Model) -> Sequence[int]:
    if request.messages is not None:
        chat = ChatRequest(
            messages=request.messages,
            tools=request.tools,
            add_generation_prompt=request.add_generation_prompt,
            continue_final_message=request.continue_final_message,
        )
        check_chat_request(chat, limits)
        read = read_conversation(chat, limits)
        try:
            return prompt_tokens(read.conversation, model)
        except Refused as refused:
            raise api_error(refused, read.tool_places) from refused
    text, words = request.text() or "", model.language.tokenizer
    try:
        check_text_size(len(text), model, ("prompt",))
    except Refused as refused:
        raise api_error(refused) from refused
    ids = words.encode(text) if request.parse_special is False else encode_spelled(words, text)
    begin = words.bos_token_id if words.adds_bos and request.begins() else None
    return ids if begin is None else [begin, *ids]


def _name(words: Tokenizer, token_id: int) -> str:
    return words.token_bytes(token_id).decode("utf-8", "replace")


def _pieces(words: Tokenizer, ids: Sequence[int]) -> list[int | TokenPiece]:
    pieces: list[int | TokenPiece] = []
    for token_id in ids:
        data = words.token_bytes(token_id)
        try:
            pieces.append(TokenPiece(token_id, data.decode("utf-8")))
        except UnicodeDecodeError:
            pieces.append(TokenPiece(token_id, list(data)))
    return pieces


def text_of(service: Service, model: Model, body: bytes, dialect: OpenAiDialect) -> TokensText:
    """Runs in a thread. Raises ApiError."""
    limits = service.settings.limits
    request = decode_request(body, _DETOKENIZE, limits)
    check_model(request.model, (), service.served, dialect)
    check_length("tokens", request.tokens, limits.detokenize)
    tokenizer = model.language.tokenizer
    size = tokenizer.vocab_size
    if request.tokens and max(request.tokens) >= size:
        raise bad_request(f"tokens: token ids must be from 0 to {size - 1}", "tokens")
    text = tokenizer.decode(request.tokens, skip_control=False)
    return TokensText(text, text)


def _info(model: Model) -> TokenizerInfo:
    words = model.language.tokenizer
    begin, end = words.bos_token_id, next(iter(words.eos_token_ids), None)
    return TokenizerInfo(
        tokenizer_class=type(words).__name__,
        vocab_size=words.vocab_size,
        model_max_length=model.max_model_len,
        add_bos_token=words.adds_bos,
        bos_token=None if begin is None else _name(words, begin),
        eos_token=None if end is None else _name(words, end),
        pad_token=None,
        bos_token_id=begin,
        eos_token_id=end,
        chat_template=model.language.chat_template or UNSET,
    )
