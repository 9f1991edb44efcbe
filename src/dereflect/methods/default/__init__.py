"""The embedded default model: a small two-stream network of our own."""
