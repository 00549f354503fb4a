"""A usable byte-level BPE vocabulary of any size for random-weight checkpoints.

It holds Mistral's control tokens, every byte, and merges of pairs and triples of bytes, so any text
encodes and decodes; it means nothing beyond that.
"""

from collections.abc import Iterator
from itertools import islice

from gguf import GGUFWriter, TokenType

_CONTROL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")

_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}[SYSTEM_PROMPT]{{ message.content }}[/SYSTEM_PROMPT]"
    "{% elif message.role == 'user' %}[INST]{{ message.content }}[/INST]"
    "{% else %}{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


def _byte_characters() -> list[str]:
    """GPT-2's printable stand-in for each byte, in byte order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _merges(characters: list[str]) -> Iterator[tuple[str, str]]:
    letters = [c for c in characters if c.isascii() and c.isalpha()]
    rest = [c for c in characters if c not in letters]
    ordered = letters + rest
    for left in ordered:
        for right in ordered:
            yield left, right
    for left in ordered:
        for middle in ordered:
            for right in ordered:
                yield left + middle, right


def add_vocabulary(writer: GGUFWriter, vocab_size: int) -> None:
    """Adds a `tekken` BPE tokenizer of `vocab_size` tokens and a chat template to the metadata."""
    characters = _byte_characters()
    wanted = vocab_size - len(_CONTROL) - len(characters)
    if wanted < 0:
        smallest = len(_CONTROL) + len(characters)
        raise ValueError(f"a vocabulary needs at least {smallest} tokens, not {vocab_size}")
    merges = list(islice(_merges(characters), wanted))
    tokens = [*_CONTROL, *characters, *(left + right for left, right in merges)]
    kinds = [TokenType.CONTROL] * len(_CONTROL) + [TokenType.NORMAL] * (vocab_size - len(_CONTROL))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("tekken")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template(_TEMPLATE)
