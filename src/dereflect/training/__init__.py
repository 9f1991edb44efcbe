"""The one training loop, its recipes and the objective contract."""
