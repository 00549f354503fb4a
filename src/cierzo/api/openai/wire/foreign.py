"""Parameters of other servers, as their clients send them here.

Each is put into this server's words where it has one for it, passed over where it cannot change
the answer, and refused by its name otherwise, like any word that nobody knows. Values are not read,
except for the few that say whether anything is asked for.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection
from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Raw

from cierzo.api.errors import ApiError, bad_request, unsupported
from cierzo.api.openai.wire.common import refuse_unless
from cierzo.api.openai.wire.unread import Unread, check_size, is_given
from cierzo.settings import Limits

# Other words for what is here. Penalties over the last words alone are `repeat_last_n`'s matter.
_SAME = {
    "format": "response_format",  # Ollama
    "max_completion_tokens": "max_tokens",  # of chats, where texts are gone on with
    "max_new_tokens": "max_tokens",  # Hugging Face
    "max_output_tokens": "max_tokens",  # OpenAI's Responses, Gemini
    "n_predict": "max_tokens",  # llama-server
    "num_predict": "max_tokens",  # Ollama
    "random_seed": "seed",  # Mistral
    "repeat_penalty": "repetition_penalty",  # llama-server, Ollama, LM Studio
    "stop_sequences": "stop",  # Anthropic
}
# Words whose value is a schema, or JSON text of one: vLLM's older one, and llama-server's.
_SCHEMAS = ("guided_json", "json_schema")

_UNUSED = frozenset(
    (
        # What changes nothing in a chat, where texts are gone on with.
        *("reasoning", "reasoning_effort", "include_reasoning", "verbosity", "prediction"),
        *("store", "debug", "stop_server_tools_when", "audio", "image_config"),
        # Reasoning, for a model that does none.
        *("thinking", "thinking_budget", "thinking_token_budget", "thinking_config", "think"),
        *("enable_thinking", "thinking_forced_open", "budget_tokens", "prompt_mode"),
        *("reasoning_format", "reasoning_budget", "reasoning_budget_tokens", "reasoning_split"),
        *("reasoning_budget_message", "reasoning_control", "reasoning_history"),
        *("reasoning_summary", "separate_reasoning", "stream_reasoning"),
        *("reasoningEffort", "thinkingConfig", "max_thinking_tokens"),
        # Names of requests, sessions and people, and words for somebody's log.
        *("request_id", "rid", "id", "chat_id", "thread_id", "conversation_id", "user_id"),
        *("message_id", "parent_id", "tags", "custom_labels", "extra_key", "intent"),
        *("litellm_metadata", "litellm_session_id", "litellm_trace_id", "litellm_call_id"),
        # How a proxy on the way is to reach us: LiteLLM's words.
        *("custom_llm_provider", "drop_params", "allowed_openai_params", "extra_headers"),
        *("timeout", "request_timeout", "stream_timeout", "max_retries", "num_retries"),
        *("caching", "cache", "base_model", "deployment_id", "api_version"),
        *("extra_query", "api_key", "api_base", "base_url", "model_info", "betas"),
        *("client_metadata", "trace_id", "trace_name", "generation_name", "generation_id"),
        *("safety_settings", "safetySettings"),  # nothing is filtered here
        # Caches, queues, memory and threads: what is computed, not what comes of it.
        *("cache_prompt", "cache_salt", "id_slot", "slot_id", "n_keep", "n_discard"),
        *("n_cache_reuse", "keep_alive", "ttl", "draft_model", "num_ctx", "num_keep"),
        *("num_thread", "num_gpu", "num_batch", "priority", "data_parallel_rank"),
        *("routed_dp_rank", "kv_transfer_params", "ec_transfer_params", "speculation"),
        *("backend_sampling", "prompt_cache_isolation_key", "prompt_cache_max_len"),
        *("context_length_exceeded_behavior",),  # "truncate" is about the answer, as we do it
        # How the answer is sent, or what is told beside it.
        *("timings_per_token", "return_progress", "perf_metrics_in_response", "verbose"),
        *("sse_ping_interval", "stream_interval", "incremental_output", "tool_stream"),
        *("return_cached_tokens_details", "spaces_between_special_tokens", "result_format"),
        # Tuning of what must be switched on first: see `_ONLY`.
        *("mirostat_tau", "mirostat_eta", "xtc_threshold", "dynatemp_exponent", "dry_base"),
        *("dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers", "truncation_side"),
        *("adaptive_decay", "smoothing_curve", "grammar_lazy", "parse_tool_calls"),
        *("media_io_kwargs", "mm_processor_kwargs", "images_config", "early_stopping"),
    )
)
# What asks for nothing with these values, and for what is not done here with any other. null and
# what is empty ask for nothing anywhere.
_ONLY: dict[str, tuple[object, ...]] = {
    "adaptive_target": (-1,),
    "add_special_tokens": (False,),
    "allowed_token_ids": (),
    "bad_words": (),
    "background": (False,),
    "best_of": (1,),
    "chat_template": (),
    "context_management": (),
    "data_sources": (),
    "decoder_input_details": (False,),
    "do_sample": (True,),
    "documents": (),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "echo": (False,),
    "enable_search": (False,),
    "encoder_repetition_penalty": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "fallbacks": (),
    "grammar": (),
    "function_call": ("none", "auto"),
    "functions": (),
    "guardrails": (),
    "guidance_scale": (1,),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_regex": (),
    "include": (),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "logits_processors": (),
    "lora": (),
    "lora_path": (),
    "min_keep": (0,),
    "min_length": (0,),
    "mirostat": (0,),
    "modalities": (["text"],),
    "moderation": (),
    "n_indent": (0,),
    "n_probs": (0,),
    "no_repeat_ngram_size": (0,),
    "no_stop_trim": (False,),
    "num_beams": (1,),
    "parallel_tool_calls": (True, False),
    "penalty_alpha": (0,),
    "post_sampling_probs": (False,),
    "previous_response_id": (),
    "prompt_logprobs": (),
    "prompt_truncate_len": (),
    "raw": (False,),
    "repeat_last_n": (-1,),
    "repetition_detection": (),
    "response_format": ({"type": "text"},),
    "return_full_text": (False,),
    "return_hidden_states": (False,),
    "return_token_ids": (False,),
    "return_tokens": (False,),
    "return_tokens_as_token_ids": (False,),
    "safe_prompt": (False,),
    "samplers": (),
    "search_parameters": ({"mode": "off"},),
    "skip_special_tokens": (True,),
    "smoothing_factor": (0,),
    "suffix": (),
    "t_max_predict_ms": (0, -1),
    "tfs": (1,),
    "tfs_z": (1,),
    "tool_choice": ("none", "auto"),
    "tools": (),
    "top_n_sigma": (0, -1),
    "truncate_prompt_tokens": (),
    "truncation": ("disabled",),
    "typ_p": (1,),
    "typical_p": (1,),
    "use_beam_search": (False,),
    "vllm_xargs": (),
    "watermark": (False,),
    "watermarking": (False,),
    "xtc_probability": (0,),
}
# Objects that hold other parameters: with these keys in them they change nothing.
_REASONING = frozenset(("enable_thinking", "thinking", "reasoning_effort", "thinking_budget"))
_INSIDE: dict[str, frozenset[str]] = {
    "chat_template_kwargs": _REASONING,
    "extra_body": _UNUSED | {"google"},  # whose thoughts are asked for there
    "options": _UNUSED,  # Ollama's
}

_EMPTY: tuple[object, ...] = ([], {}, "")
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_FOREIGN = {*_SAME, *_SCHEMAS, *_UNUSED, *_ONLY, *_INSIDE}
# Lists of ours. Lua writes those that are empty as objects.
_LISTS = ("tools", "stop", "models", "plugins", "transforms", "stop_token_ids")
_TEXTS = frozenset(("messages", "prompt", "content", "tokens"))  # as long as a body may be
_MOST_STRANGE, _LONGEST_STRANGE = 16, 200  # words in a request that nobody knows, their length
_NO_NAME = re.compile(r"Invalid enum value '(.*)' - at `key` in `\$`", re.DOTALL)

T = TypeVar("T", bound=msgspec.Struct)
Sent: TypeAlias = dict[str, Raw]
Check: TypeAlias = Callable[[Sent, Limits], None]


class RequestDecoder(Generic[T]):
    """Reads requests of one kind, in this server's words and in those of others.

    A number in quotes is that number, and 16.0 is 16. Before anything is made of it, the JSON of
    every parameter that is read, and is not text, is held to `limits.schema_bytes`; `check` looks
    at the JSON of the others.
    """

    def __init__(self, kind: type[T], check: Check | None = None) -> None:
        fields = msgspec.structs.fields(kind)
        self._known = frozenset(field.name for field in fields)
        unread = {field.name for field in fields if field.type == Unread}
        self._free = (unread | _TEXTS | (_UNUSED - self._known)) - ({*_INSIDE} - self._known)
        self._check = check
        self._typed = msgspec.json.Decoder(kind, strict=False)
        self._parts = _splitter(self._known | _FOREIGN)

    def decode(self, body: bytes, limits: Limits) -> T:
        """Raises ApiError, msgspec's errors, and UnicodeDecodeError."""
        str(body, "utf-8")  # so that whatever is read later of what is unread now is text
        sent = self._split(body)
        for name, json in sent.items():
            if name not in self._free:
                check_size(json, name, limits.schema_bytes)
        if self._check is not None:
            self._check(sent, limits)
        return self._typed.decode(in_our_words(sent, self._known))

    def _split(self, body: bytes) -> Sent:
        """The JSON of each parameter. There may be a few words that nobody knows, as null: a body
        of nothing else must not become a million objects."""
        decoder, strange = self._parts, set[str]()
        while True:
            try:
                return decoder.decode(body)
            except msgspec.ValidationError as error:
                match = _NO_NAME.fullmatch(str(error))
                if match is None:
                    raise
                if len(strange) == _MOST_STRANGE or len(match[1]) > _LONGEST_STRANGE:
                    raise _unknown(match[1], self._known) from None
                strange.add(match[1])
                decoder = _splitter(self._known | _FOREIGN | strange)


def _splitter(names: Collection[str]) -> msgspec.json.Decoder[Sent]:
    """Reads an object that has no other names than these, and not what they stand for.

    Names are looked up, as fields of a struct are not: a million that are the same take no longer
    than a million others, and leave one.
    """
    return msgspec.json.Decoder(dict[Literal[tuple(names)], Raw])  # type: ignore[misc]


def in_our_words(sent: Sent, known: Collection[str]) -> bytes:
    """The body of a request that has each of the parameters `known` once, and nothing else.

    `sent` is what is in the body. Raises ApiError for what would change the answer and is not done
    here, and for what nobody knows; and msgspec's errors for what is no JSON object.
    """
    empty = [name for name in sent if name != "prompt" and _is_empty(name, sent[name])]
    for name in empty:
        del sent[name]
    for name in [name for name in sent if name not in known]:
        json = sent.pop(name)
        if name in _UNUSED or not is_given(json):
            continue
        if name in _ONLY:
            others = "".join(f", or send {_written(value)}" for value in _ONLY[name])
            why = f"this is not done here; leave it out{others}"
            refuse_unless(name, json, why, *_ONLY[name], *_EMPTY)
        elif name in _INSIDE:
            _check_inside(name, json)
        elif _SAME.get(name) in known:
            _add(sent, name, _SAME[name], json)
        elif name in _SCHEMAS and "response_format" in known:
            _add(sent, name, "response_format", _format_of(name, json))
        else:
            raise _unknown(name, known)
    return msgspec.json.encode(sent)


def _is_empty(name: str, json: Raw) -> bool:
    """Whether it is of a form that was not filled in, or a list that Lua had nothing in."""
    first = bytes(memoryview(json)[:2])
    return first == b'""' or (first == b"{}" and name in _LISTS)


def _check_inside(name: str, json: Raw) -> None:
    """Raises ApiError for an object with other keys than those that change nothing."""
    if bytes(memoryview(json)[:2]) == b"[]":  # PHP's empty object
        return
    if bytes(memoryview(json)[:1]) != b"{":
        raise bad_request(f"{name}: expected object", name)
    for key, value in _OBJECT.decode(json).items():
        if key == "chat_template_kwargs" and name == "extra_body" and is_given(value):
            _check_inside(key, value)
        elif key not in _INSIDE[name] and is_given(value):
            param = f"{name}.{key[:80]}"
            raise unsupported(param, "not known here; parameters go to the top of the request")


def _add(sent: dict[str, Raw], name: str, ours: str, json: Raw) -> None:
    """Raises ApiError where our word is sent, too, and says something else."""
    other = sent.setdefault(ours, json)
    if not is_given(other):
        sent[ours] = json
    elif bytes(other) != bytes(json):
        raise bad_request(f"{name}: {ours} says something else; leave one of them out", name)


def _format_of(name: str, json: Raw) -> Raw:
    """The `response_format` of a schema, or of JSON text of one."""
    data = bytes(json)
    if data.startswith(b'"'):
        try:
            data = bytes(msgspec.json.decode(msgspec.json.decode(data, type=str), type=Raw))
        except (msgspec.DecodeError, RecursionError):
            raise bad_request(f"{name}: expected an object, or JSON text of one", name) from None
    return Raw(b'{"type":"json_schema","schema":' + data + b"}")


def _unknown(name: str, known: Collection[str]) -> ApiError:
    shown = name[:200]
    meant = difflib.get_close_matches(name[:64].lower(), known, n=1, cutoff=0.75)
    hint = f"; is {meant[0]} meant?" if meant else ""
    return bad_request(f"{shown}: there is no such parameter{hint}", shown)


def _written(value: object) -> str:
    return msgspec.json.encode(value).decode()
