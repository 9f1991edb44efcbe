"""WindowSeat (Zakarin et al., arXiv 2512.05000): one step of a large image-editing transformer."""
