"""DSIT: dual-stream interactive transformers (Hu, Wang & Guo, NeurIPS 2024)."""
