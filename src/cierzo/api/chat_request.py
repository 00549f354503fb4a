"""From the body of a chat request to a plan: all that can be checked before the first token."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from cierzo.api import generation
from cierzo.api.errors import bad_request
from cierzo.api.plan import Plan, head_of, sampling_of
from cierzo.api.schemas import common
from cierzo.api.schemas.chat import ChatRequest, check_chat_request
from cierzo.api.schemas.decode import decode_request
from cierzo.api.schemas.messages import to_chat_message
from cierzo.api.schemas.routing import check_routing
from cierzo.api.service import Language, Service
from cierzo.chat.messages import ChatError, ends_open

ChatPlan: TypeAlias = Plan[ChatRequest]

_PARAM = "messages"
_DECODER = msgspec.json.Decoder(ChatRequest)


def prepare(service: Service, language: Language, body: bytes, path: str) -> ChatPlan:
    """Reads and checks a request. Slow: runs in a thread. Raises ApiError."""
    limits = service.settings.limits
    request = decode_request(body, _DECODER, limits.json_depth)
    check_routing(request, service.served, path)
    check_chat_request(request, limits)
    choices = common.check_choices(request.n, limits)
    sampling = sampling_of(request, service.served.entry.sampling, limits)
    messages = [to_chat_message(message) for message in request.messages]
    size = sum(len(part) for message in messages for part in message.parts())
    generation.check_text_size(size, language, service, _PARAM)
    try:
        prompt = language.template.render(messages, continue_last=True)
    except ChatError as error:
        raise bad_request(str(error), _PARAM) from error
    longest = request.longest_answer()
    params = msgspec.structs.replace(
        sampling,
        max_tokens=generation.check_context(len(prompt), longest, service, _PARAM),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )
    generation.check_params(params, service)
    head = head_of(service, request)
    continues = ends_open(messages, continue_last=True)
    return Plan(
        request=request,
        path=path,
        jobs=generation.jobs_for(prompt, params, choices, head["id"], mid_text=continues),
        head=head,
        tokenizer=language.tokenizer,
        usage_in_stream=common.usage_in_stream(request, path),
    )
