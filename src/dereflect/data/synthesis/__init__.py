"""Glass synthesis as a tool: one module a rule.

Each has `Draws`, `draw(random, height, width)` and `mix(T, R, draws)`.
"""
