"""From an ask to jobs: the one place that checks what is asked for."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence

import msgspec

from cierzo.chat.calls.schema_rules import Warn
from cierzo.chat.calls.tool_format import ConstraintOf, output_constraints
from cierzo.chat.messages import ChatError
from cierzo.chat.recent import RecentOf
from cierzo.engine.cache.hints import Hints
from cierzo.engine.sampling_params import InvalidParam, validate
from cierzo.generate.ask import Ask, Conversation
from cierzo.generate.job import Job, seed_of_choice
from cierzo.generate.model import Model
from cierzo.generate.prompt import encode_prompt, part_of
from cierzo.generate.refused import Reason, Refused, TooLong
from cierzo.grammar.constraint import Constraint

# What would end an answer elsewhere than its form does, and the value that asks for nothing.
_BESIDE_A_FORM = (("min_tokens", 0), ("ignore_eos", False), ("stop_token_ids", ()))


def prepare(ask: Ask, model: Model, request_id: str, warn: Warn | None = None) -> tuple[Job, ...]:
    """A job for each choice; the ids of their requests begin with `request_id`.

    Slow for a large prompt or schema: run it in a thread, not on an event loop. `warn` is told,
    with the part, what of the ask is not held to. Raises Refused, naming the part.
    """
    # First: what is wrong with a schema is told before all else.
    constraint_of = _constraints(ask, model, warn)
    recent = RecentOf(model.language.recent, ask.cache_salt) if ask.retain else None
    prompt = encode_prompt(ask.prompt, model, add_bos=ask.add_bos, recent=recent)
    first = _job(ask, model, prompt, request_id)
    drawn = first.seed
    jobs = [first]
    for index in range(1, ask.choices):
        job = dataclasses.replace(
            first,
            request_id=f"{request_id}-{index}",
            seed=seed_of_choice(drawn, index),
            index=index,
            hints=Hints(seconds=first.hints.seconds),  # a session goes on from one of them
        )
        jobs.append(job)
    return tuple(_with_constraint(job, constraint_of(job.call_id)) for job in jobs)


def _job(ask: Ask, model: Model, prompt: Sequence[int], request_id: str) -> Job:
    """The first choice, without what its answer must look like."""
    params = ask.sampling
    forbidden: tuple[int, ...] = ()
    format, continues = None, True
    if isinstance(ask.prompt, Conversation):
        mode = ask.prompt.tool_choice.mode
        tool_format = model.language.template.tool_format
        forbidden = tool_format.forbidden(mode)
        format = tool_format if mode != "none" else None
        continues = bool(ask.prompt.beginning)
    longest = _longest_answer(len(prompt), ask, model)
    params = msgspec.structs.replace(params, max_tokens=longest, forbidden=forbidden)
    try:
        validate(params, model.vocab_size)
    except InvalidParam as error:
        raise Refused(Reason.INVALID, error.problem, (error.name,)) from error
    seed = secrets.randbits(63) if params.seed is None else params.seed
    return Job(
        prompt,
        params,
        f"{request_id}-0",
        seed,
        ask.stop,
        continues,
        format,
        cache_salt=ask.cache_salt,
        retain=ask.retain,
        hints=ask.hints,
        prediction=_predicted(ask, model),
    )


def _predicted(ask: Ask, model: Model) -> Sequence[int]:
    """The tokens of what the answer is likely to be. What is longer than any answer is left out."""
    longest = model.max_model_len * model.language.max_token_bytes
    if not ask.prediction or len(ask.prediction) > longest:
        return ()
    return model.language.tokenizer.encode(ask.prediction)[: model.max_model_len]


def _with_constraint(job: Job, constraint: Constraint | None) -> Job:
    """The job with its own seed, and with what its answer must look like."""
    if constraint is not None and job.params.constraint is None:
        for name, nothing in _BESIDE_A_FORM:
            if getattr(job.params, name) != nothing:
                text = "it cannot be kept together with tools or a response_format; leave it out"
                raise Refused(Reason.UNSUPPORTED, text, (name,))
    params = msgspec.structs.replace(job.params, seed=job.seed, constraint=constraint)
    # A stop string never cuts a value.
    stop = job.stop if constraint is None or constraint.stops else ()
    return dataclasses.replace(job, params=params, stop=stop)


def _constraints(ask: Ask, model: Model, warn: Warn | None) -> ConstraintOf:
    """What answers must look like."""
    if not isinstance(ask.prompt, Conversation):
        return lambda _: ask.sampling.constraint
    conversation = ask.prompt
    try:
        return output_constraints(
            model.language.template.tool_format,
            tools=conversation.tools,
            choice=conversation.tool_choice,
            parallel=conversation.parallel,
            schema=conversation.schema,
            beginning=conversation.beginning,
            limits=model.schema_limits,
            warn=warn,
        )
    except ChatError as error:
        raise Refused(Reason.INVALID, str(error), error.part) from error


def _longest_answer(prompt: int, ask: Ask, model: Model) -> int:
    """How many tokens the answer may have: `max_tokens`, or what the context leaves.

    Agents ask for as many tokens as a model may write at all, whatever they send. So a bound that
    does not fit is cut to what is left, where that is enough for an answer (`min_room`, or a
    quarter of the context). Where it is not, an agent has to shorten its history: TooLong.
    """
    left = model.max_model_len - prompt
    enough = max(1, min(ask.min_room, model.max_model_len // 4))
    longest = ask.max_tokens
    if longest is None and left >= 1:
        return left
    if longest is not None and (longest <= left or left >= enough):
        return min(longest, left)
    raise TooLong(model.max_model_len, prompt, longest or 0, part_of(ask.prompt))
