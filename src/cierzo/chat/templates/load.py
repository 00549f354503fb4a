"""The chat template of a checkpoint: Mistral's encoding, its own Jinja template, or ChatML."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from cierzo.chat.calls.text_calls import TextCalls
from cierzo.chat.calls.tool_format import ToolFormat
from cierzo.chat.messages import ChatError, Message
from cierzo.chat.recent import RecentOf
from cierzo.chat.templates.template import ChatTemplate
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import Tool
from cierzo.model.errors import ModelError
from cierzo.model.readers.contents import TokenizerSource

# What most models with these two control tokens were trained on.
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class NoTemplate:
    """Stands in for the template of a model that has none, such as a base model."""

    supports_tools = False
    tool_format: ToolFormat = TextCalls()

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] | None = None,
        continue_final: bool = False,
        recent: RecentOf | None = None,
    ) -> array[int]:
        raise ChatError(
            "this model has no chat template, so it cannot chat; use /v1/completions, or an "
            "instruct version of the model"
        )


def load_chat_template(source: TokenizerSource, tokenizer: Tokenizer) -> ChatTemplate:
    """Mistral's own encoding for its vocabularies, otherwise the checkpoint's Jinja template.

    A checkpoint without template gets ChatML if its vocabulary has ChatML's control tokens, and
    otherwise a stand-in that refuses to chat. Raises ModelError for a template that is not Jinja.
    """
    template = source.chat_template
    if source.kind == "tekken" or template is None or "[INST]" in template:
        # Imports mistral-common, which a model with another vocabulary shall not wait for.
        mistral = _mistral_template(source, tokenizer)
        if mistral is not None:
            return mistral
    if template is None:
        if not {"<|im_start|>", "<|im_end|>"} <= tokenizer.control_tokens.keys():
            return NoTemplate()
        template = _CHATML
    from cierzo.chat.templates.jinja import JinjaTemplate

    return JinjaTemplate(template, tokenizer, source)


def _mistral_template(source: TokenizerSource, tokenizer: Tokenizer) -> ChatTemplate | None:
    if source.kind == "tokenizer.json" or "[INST]" not in tokenizer.control_tokens:
        return None
    from cierzo.chat.tokenizers.tekken import TekkenTokenizer

    if not isinstance(tokenizer, TekkenTokenizer):
        return None
    from cierzo.chat.templates.mistral import MistralTemplate

    try:
        return MistralTemplate(tokenizer)
    except ModelError as error:
        raise ModelError(f"{source.path}: {error}") from error
