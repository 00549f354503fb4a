"""Every instruction set that runs here: right, and true to itself. Each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from cierzo import _native

CHECK = textwrap.dedent(
    """
    import sys
    import numpy as np
    from cierzo import _native
    from cierzo.backends.tensor import StorageType
    from tests.support.checkpoints import TinyModel, random_weights
    from tests.support.quantise import stored
    from tests.support.reference import reference_logits
    from tests.support.steps import TinyRunner, random_tokens

    assert _native.active_isa() == sys.argv[1]
    model = TinyModel(num_attention_heads=6, head_dim=80, num_key_value_heads=2, hidden_size=480)
    tokens = random_tokens(model, 300)
    weights = random_weights(model)
    for storage, cache, tolerance in (
        (StorageType.F32, "int16", 3.5e-4),
        (StorageType.Q4_1, "int16", 0.03),
        (StorageType.Q8_0, "int8", 0.05),
    ):
        kept = {k: stored(v, storage) if v.ndim == 2 else v for k, v in weights.items()}
        want = reference_logits(kept, model, tokens)
        given = {"storage": storage, "kv_cache_dtype": cache, "weights": weights}
        runner = TinyRunner(model, **given)
        got = runner.prompt(tokens)
        error = np.sqrt(((got - want) ** 2).mean()) / want.std()
        assert error < tolerance, (storage, error)
        assert np.array_equal(runner.prompt(tokens, 37), got)
        single = TinyRunner(model, **given, threads=1)
        assert np.array_equal(single.prompt(tokens), got)
    """
)

DIGESTS = textwrap.dedent(
    """
    import hashlib
    import numpy as np
    from cierzo.backends.tensor import StorageType
    from tests.support.checkpoints import TinyModel, random_weights
    from tests.support.quantise import stored
    from tests.support.steps import TinyRunner, random_tokens

    model = TinyModel(
        num_attention_heads=8, head_dim=64, num_key_value_heads=2, hidden_size=512,
        intermediate_size=2304,
    )
    tokens = random_tokens(model, 300)
    weights = random_weights(model)
    for storage in StorageType:
        kept = {k: stored(v, storage) if v.ndim == 2 else v for k, v in weights.items()}
        for cache in ("int16", "int8"):
            runner = TinyRunner(model, storage=storage, kv_cache_dtype=cache, weights=kept)
            whole, few = runner.prompt(tokens), runner.prompt(tokens[:40], 3)
            digest = hashlib.sha256(whole.tobytes() + few.tobytes()).hexdigest()
            print(storage.name, cache, digest)
    """
)


def _run(script: str, isa: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"CIERZO_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("isa", _native.available_isas())
def test_an_instruction_set_computes_the_model(isa: str) -> None:
    _run(CHECK, isa, isa)


def test_sets_that_fuse_multiplications_and_additions_have_the_same_bits() -> None:
    fusing = [isa for isa in _native.available_isas() if isa != "portable"]
    if len(fusing) < 2:
        pytest.skip("this processor has no two of them")
    first, *others = (_run(DIGESTS, isa) for isa in fusing)
    assert first.count("\n") > 10
    for other in others:
        assert other == first


def test_an_unknown_instruction_set_is_refused_with_the_choices() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from cierzo import _native; _native.active_isa()"],
        env=os.environ | {"CIERZO_ISA": "mmx"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode != 0
    assert "CIERZO_ISA=mmx" in done.stderr
    assert "portable" in done.stderr
