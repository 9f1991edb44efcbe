"""Glass synthesis as a tool: each rule is a module with `Draws`, `draw(random, height, width)` and `mix(T, R,
draws)`.
"""
