"""What measures Cierzo: speed beside its peers, quality beside a float32 reference."""
