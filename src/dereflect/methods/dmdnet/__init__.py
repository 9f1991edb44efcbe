"""DMDNet: depth-memory decoupling network (arXiv 2601.00322, AAAI 2026), rebuilt from its description."""
