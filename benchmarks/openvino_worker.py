"""Runs inside the Python that has openvino-genai; knows nothing of Cierzo.

    python openvino_worker.py MODEL PROMPT_TOKENS OUTPUT_TOKENS THREADS

MODEL is a GGUF file (or a folder with OpenVINO's own format). Prints one JSON object, tokens a
second; 0 for a part that was not asked for. Prefill is taken from the time to the first token,
decoding from the mean time between tokens, both as openvino-genai reports them.
"""

import json
import sys

import numpy as np
import openvino
import openvino_genai


def speed(model: str, prompt_tokens: int, output_tokens: int, threads: int) -> dict[str, float]:
    pipeline = openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
    _generate(pipeline, prompt_tokens=8, new_tokens=4, seed=0)
    result = {"prefill_tps": 0.0, "decode_tps": 0.0}
    if prompt_tokens:
        metrics = _generate(pipeline, prompt_tokens, new_tokens=1, seed=1)
        result["prefill_tps"] = 1000 * prompt_tokens / metrics.get_ttft().mean
    if output_tokens:
        metrics = _generate(pipeline, prompt_tokens=1, new_tokens=output_tokens, seed=2)
        result["decode_tps"] = 1000 / metrics.get_tpot().mean
    return result


def _generate(
    pipeline: openvino_genai.LLMPipeline, prompt_tokens: int, new_tokens: int, seed: int
) -> openvino_genai.PerfMetrics:
    """Another seed is another prompt, so that its prefix cache never answers."""
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = new_tokens
    config.ignore_eos = True
    config.do_sample = False
    ids = np.random.default_rng(seed).integers(100, 20000, (1, prompt_tokens), dtype=np.int64)
    inputs = openvino_genai.TokenizedInputs(
        openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids))
    )
    return pipeline.generate(inputs, config).perf_metrics


if __name__ == "__main__":
    path, prompt, output, count = sys.argv[1:]
    print(json.dumps(speed(path, int(prompt), int(output), int(count))))
