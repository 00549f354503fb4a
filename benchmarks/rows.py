"""What is compared: the rows of the table, and what a machine must do for each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gguf import GGUFReader

Part = Literal["prefill", "decode"]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `files`: "given" runs everyone on one file; "best" lets each contestant choose, among several
    quantisations of the same model, the one it is fastest with. `disturbed` measures twice, idle
    and while another process burns one core.
    """

    key: str
    title: str
    model: Literal["smollm2", "devstral", "devstral-full"]
    part: Part
    tokens: int
    files: Literal["given", "best"] = "given"
    disturbed: bool = False

    @property
    def prompt(self) -> int:
        """Prompt tokens to ask for."""
        return self.tokens if self.part == "prefill" else 0

    @property
    def output(self) -> int:
        """Output tokens to ask for."""
        return self.tokens if self.part == "decode" else 0


_SMOL = "SmolLM2, its Q4_1 file"
_BEST = "SmolLM2, each at its best quantisation"
_TWO_LAYERS = "Devstral's geometry, 2 layers and head, Q4_K_M"
_FULL = "Devstral's geometry, all 40 layers, Q4_K_M"
_DISTURBED = "SmolLM2 decode 128 while another process burns one core"

ROWS = (
    Row("smollm2-prefill", f"{_SMOL}: prefill 1,024", "smollm2", "prefill", 1024),
    Row("smollm2-decode", f"{_SMOL}: decode 128", "smollm2", "decode", 128),
    Row("best-prefill", f"{_BEST}: prefill 1,024", "smollm2", "prefill", 1024, files="best"),
    Row("best-decode", f"{_BEST}: decode 128", "smollm2", "decode", 128, files="best"),
    Row("devstral-prefill", f"{_TWO_LAYERS}: prefill 512", "devstral", "prefill", 512),
    Row("devstral-decode", f"{_TWO_LAYERS}: decode 32", "devstral", "decode", 32),
    Row("disturbed-decode", _DISTURBED, "smollm2", "decode", 128, disturbed=True),
    Row("full-prefill", f"{_FULL}: prefill 128", "devstral-full", "prefill", 128),
    Row("full-decode", f"{_FULL}: decode 16", "devstral-full", "decode", 16),
)


@dataclass(frozen=True)
class Work:
    """What a token costs: operations (two a multiply-add) in a prompt, bytes when decoded.

    A prompt token goes through the layers, but of the last one through the product that makes
    its query, key and value alone: only the prompt's last token needs more, and the head. A decoded
    token reads every matrix but the embedding table, unless that is the head too. Attention is left
    out.
    """

    prefill_ops: float
    decode_bytes: float


def work(model: Path) -> Work:
    """Adds up the matrices of a GGUF file."""
    tensors = {t.name: t for t in GGUFReader(model).tensors if len(t.shape) == 2}
    head = "output.weight" if "output.weight" in tensors else "token_embd.weight"
    layers = [t for name, t in tensors.items() if name.startswith("blk.")]
    last = f"blk.{max(int(t.name.split('.')[1]) for t in layers)}."
    kept = (f"{last}attn_q.weight", f"{last}attn_k.weight", f"{last}attn_v.weight")
    done = [t for t in layers if not t.name.startswith(last) or t.name in kept]
    return Work(
        prefill_ops=2.0 * sum(int(t.n_elements) for t in done),
        decode_bytes=float(sum(int(t.n_bytes) for t in [*layers, tensors[head]])),
    )
