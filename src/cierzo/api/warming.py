"""Prompts from a file are read into the cache at start (`--warm`), as nobody else needs the engine.

The file has requests as `/chat/completions` takes them: one JSON body, or one a line. They go the
way of any request, so that the same prompt finds them; nothing is answered. As soon as somebody
asks something, the prompt that is being read steps back. What was computed of it stays, and it goes
on from there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cierzo.api.access.tenant import cache_salts
from cierzo.api.errors import ApiError
from cierzo.api.openai.chat import ChatReply, prepared
from cierzo.api.openai.conversation import read_conversation
from cierzo.api.openai.dialect import OPENAI
from cierzo.api.openai.routing import check_routing
from cierzo.api.openai.wire.chat import ChatRequest, check_chat_request
from cierzo.api.openai.wire.decode import decode_request
from cierzo.api.openai.wire.foreign import RequestDecoder
from cierzo.api.service import Service
from cierzo.generate.answers import answers
from cierzo.generate.receipt import Receipt
from cierzo.generate.refused import Refused
from cierzo.log import Log
from cierzo.settings import Limits, Settings, SettingsError

_log = Log("cache")

FILE_BYTES = 1 << 26
_LOOK_SECONDS = 0.05  # between looks at whether anybody else asks something
_DECODER = RequestDecoder(ChatRequest)


@dataclass(frozen=True)
class Prompt:
    """A request of the file, and where it stands."""

    request: ChatRequest
    line: int


def read_prompts(settings: Settings) -> list[Prompt]:
    """The requests of the file that `server.warm` names.

    Raises SettingsError, naming the line, for what could not be read as a request.
    """
    if settings.server.warm is None:
        return []
    where = f"server.warm: {settings.server.warm}"
    try:
        with Path(settings.server.warm).expanduser().open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{where}: cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES:
        raise SettingsError(f"{where}: larger than {FILE_BYTES:,} bytes")
    prompts = []
    for line, body in _bodies(data):
        try:
            prompts.append(Prompt(_request_in(body, settings.limits), line))
        except ApiError as error:
            raise SettingsError(f"{where}, line {line}: {error}") from None
    if not prompts:
        raise SettingsError(f"{where}: holds no request; write one a line")
    return prompts


async def warm(service: Service, prompts: Sequence[Prompt]) -> None:
    """Reads the prompts, one after the other, for each key that does not share with others."""
    began = time.monotonic()
    salts = cache_salts(service.settings.server)
    number = 0
    for prompt in prompts:
        for salt in salts:
            number += 1
            try:
                receipt = await _read(service, prompt, salt)
            except (ApiError, Refused) as error:
                _log.warning("prompt not read", line=prompt.line, reason=str(error))
                continue
            _log.info(
                "prompt read into the cache",
                line=prompt.line,
                number=f"{number}/{len(prompts) * len(salts)}",
                tokens=receipt.prompt_tokens,
                cached=receipt.cached_tokens,
            )
    _log.info("all prompts read", seconds=time.monotonic() - began)


async def _read(service: Service, prompt: Prompt, salt: str) -> Receipt:
    """Has the engine compute a prompt, whenever nobody else asks for anything."""
    reply = await asyncio.to_thread(_reply, service, prompt.request, salt)
    while True:
        while service.client.num_requests:
            await asyncio.sleep(_LOOK_SECONDS)
        receipt = Receipt()
        reading = asyncio.create_task(_compute(service, reply, receipt))
        try:
            while not reading.done() and service.client.num_requests <= 1:
                await asyncio.wait((reading,), timeout=_LOOK_SECONDS)
        finally:
            reading.cancel()
            await asyncio.wait((reading,))
        if not reading.cancelled():
            reading.result()
            return receipt


async def _compute(service: Service, reply: ChatReply, receipt: Receipt) -> None:
    outputs = answers(service.client, reply.jobs, reply.tokenizer, receipt, at_once=1)
    async with aclosing(outputs) as deltas:
        async for _ in deltas:
            pass


def _reply(service: Service, request: ChatRequest, salt: str) -> ChatReply:
    """The job that computes a prompt and answers nothing, whatever the request asks."""
    check_routing(request, service.served, OPENAI)
    asked = msgspec.structs.replace(
        request, max_tokens=0, max_completion_tokens=0, n=1, logprobs=None, top_logprobs=None
    )
    reply = prepared(service, service.model(), asked, OPENAI, cache_salt=salt)
    (job,) = reply.jobs
    params = msgspec.structs.replace(job.params, constraint=None)
    return dataclasses.replace(reply, jobs=(dataclasses.replace(job, params=params),))


def _request_in(body: bytes, limits: Limits) -> ChatRequest:
    """Raises ApiError."""
    if len(body) > limits.body_bytes:
        raise ApiError(413, f"larger than the {limits.body_bytes:,} bytes that a request may have")
    request = decode_request(body, _DECODER, limits)
    check_chat_request(request, limits)
    read_conversation(request, limits)
    return request


def _bodies(data: bytes) -> list[tuple[int, bytes]]:
    """Each body with its line. Where the first line is no JSON by itself, all of it is one body."""
    lines = [(at, line) for at, line in enumerate(data.splitlines(), 1) if line.strip()]
    if len(lines) > 1 and not _is_json(lines[0][1]):
        return [(lines[0][0], data)]
    return lines


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
