"""Which tokens a step computes: sequences, their blocks of the KV cache, and the step's budget."""
