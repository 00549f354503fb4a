"""From the body of a chat request to a plan: all that can be checked before the first token."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from cierzo.api import jobs
from cierzo.api.errors import ApiError, bad_request, unavailable
from cierzo.api.openai.plan import Plan, head_of, sampling_of
from cierzo.api.openai.wire import common
from cierzo.api.openai.wire.chat import (
    ChatRequest,
    check_beginning,
    check_beside_form,
    check_chat_request,
)
from cierzo.api.openai.wire.decode import decode_request
from cierzo.api.openai.wire.foreign import RequestDecoder
from cierzo.api.openai.wire.formats import wanted_schema
from cierzo.api.openai.wire.messages import to_chat_message
from cierzo.api.openai.wire.routing import check_routing
from cierzo.api.openai.wire.tool_choice import read_choice
from cierzo.api.openai.wire.tools import read_tools
from cierzo.api.state import Language, Service
from cierzo.api.text_threads import PLAIN, SCHEMAS, Lanes
from cierzo.chat.calls.tool_format import CallIds, output_constraint
from cierzo.chat.messages import ChatError, Message, ends_open
from cierzo.chat.tools import Tool, ToolChoice
from cierzo.engine.errors import EngineError
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.schema import SchemaLimits, schema_limits
from cierzo.grammar.schema.meant import meant
from cierzo.settings import Limits

ChatPlan: TypeAlias = Plan[ChatRequest]

_PARAM = "messages"
_DECODER = RequestDecoder(ChatRequest)
# The part of the request that a ChatError begins with, where it names one.
_PART = re.compile(r"(?:messages|tools|tool_choice|response_format)(?:\.[^\s:]+|\[\d+\][^\s:]*)?")


@dataclass(frozen=True)
class Wanted:
    """What the answer must look like."""

    language: Language
    messages: Sequence[Message]
    continues: bool  # whether a last message of the assistant's is the beginning of the answer
    tools: Sequence[Tool]
    choice: ToolChoice
    parallel: bool
    schema: object | None
    limits: SchemaLimits
    warnings: list[str]  # about tools

    @property
    def is_open(self) -> bool:
        """Whether the last message is the beginning of the answer."""
        return ends_open(self.messages, self.continues)

    def constraint(self, call_ids: CallIds | None = None) -> Constraint | None:
        """With ids, if the model writes them itself: those. Raises ApiError naming the part that
        cannot be held to; what a tool's arguments are not held to is a warning."""
        form = self.language.template.tool_format
        try:
            return output_constraint(
                form,
                tools=self.tools,
                choice=self.choice,
                parallel=self.parallel,
                schema=self.schema,
                open_text="".join(self.messages[-1].parts()) if self.is_open else "",
                call_ids=call_ids,
                limits=self.limits,
                warn=self.warnings.append,
            )
        except ChatError as error:
            raise _refused(error) from error


def read_request(service: Service, body: bytes, path: str) -> ChatRequest:
    """Reads a request, and checks what can be said of it at once. Slow: runs in a thread. Raises
    ApiError."""
    limits = service.settings.limits
    request = decode_request(body, _DECODER, limits)
    check_routing(request, service.served, path)
    check_chat_request(request, limits)
    return request


def lanes_of(request: ChatRequest) -> Lanes:
    """Where it is made into a plan: apart if there are schemas in it."""
    forms = (request.tools, request.response_format, request.structured_outputs)
    return SCHEMAS if any(forms) else PLAIN


def prepare(service: Service, language: Language, request: ChatRequest, path: str) -> ChatPlan:
    """Makes and checks all else. Slow: runs in a thread. Raises ApiError."""
    limits = service.settings.limits
    choices = common.check_choices(request.n, limits)
    sampling = sampling_of(request, service.served.entry.sampling, limits)
    wanted = _wanted(request, language, limits)
    form = language.template.tool_format
    shared = wanted.constraint()  # first: what is wrong with a schema is told before all else
    check_beside_form(request, has_form=shared is not None)
    prompt = _prompt(service, wanted)
    longest = request.longest_answer()
    params = msgspec.structs.replace(
        sampling,
        max_tokens=jobs.check_context(len(prompt), longest, service, _PARAM),
        logprobs=request.alternatives(),
        forbidden=form.forbidden(wanted.choice.mode),
    )
    jobs.check_params(params, service)
    head = head_of(service, request)
    return Plan(
        request=request,
        path=path,
        jobs=jobs.jobs_for(
            prompt,
            params,
            choices,
            head["id"],
            mid_text=wanted.is_open,
            format=form if wanted.choice.mode != "none" else None,
            constraint=wanted.constraint if form.writes_ids else lambda _: shared,
        ),
        head=head,
        tokenizer=language.tokenizer,
        usage_in_stream=common.usage_in_stream(request, path),
        warnings=tuple(dict.fromkeys(wanted.warnings)),  # once, for all choices
    )


def prompt_of(service: Service, language: Language, request: ChatRequest) -> list[int]:
    """The tokens that a request's messages and tools become. Slow. Raises ApiError."""
    limits = service.settings.limits
    check_chat_request(request, limits)
    return _prompt(service, _wanted(request, language, limits))


async def check_constraints(service: Service, plan: ChatPlan) -> None:
    """Has the engine compile what the answers must look like. Raises ApiError if it cannot.

    An engine that is being replaced is not waited for here: its successor is given the request,
    and compiles then.
    """
    for constraint in dict.fromkeys(job.params.constraint for job in plan.jobs):
        if constraint is None or service.client.status.state == "restarting":
            continue
        try:
            problem = await service.client.check_constraint(constraint)
        except EngineError as error:
            raise unavailable(str(error), "engine_error") from error
        if problem is None:
            continue
        param = "tools" if plan.request.tools else "response_format"
        if constraint.prefix and "last message" in problem:
            param = _PARAM
        raise bad_request(f"{param}: {problem}", param)


def _wanted(request: ChatRequest, language: Language, limits: Limits) -> Wanted:
    """What the request says of calls and format."""
    schema = wanted_schema(request.response_format, request.structured_outputs)
    messages = [to_chat_message(m, f"messages[{at}]") for at, m in enumerate(request.messages)]
    check_beginning(request, is_open=ends_open(messages, continue_last=True))
    read = read_tools(request.tools)
    common.check_length("tools", read.tools, limits.tools)  # groups of them, too
    wish = read_choice(request.tool_choice, read.tools)
    return Wanted(
        language=language,
        messages=messages,
        continues=request.continue_final_message is not False,
        tools=read.tools,
        choice=wish.choice,
        parallel=request.parallel_tool_calls is not False and not wish.one,
        schema=None if schema is None else meant(schema),
        limits=schema_limits(limits),
        warnings=read.warnings,
    )


def _prompt(service: Service, wanted: Wanted) -> list[int]:
    size = sum(len(part) for message in wanted.messages for part in message.parts())
    size += sum(len(c.name) + len(c.arguments) for m in wanted.messages for c in m.tool_calls)
    jobs.check_text_size(size, wanted.language, service, _PARAM)
    template = wanted.language.template
    try:
        return template.render(
            wanted.messages, tools=wanted.tools or None, continue_last=wanted.continues
        )
    except ChatError as error:
        raise _refused(error) from error


def _refused(error: ChatError) -> ApiError:
    """A 400 for what cannot be put to the model, naming the part that its text begins with."""
    part = _PART.match(str(error))
    return bad_request(str(error), part[0] if part else _PARAM)
