"""DMDNet, as the catalog knows it."""

from dereflect.methods.card import ModelCard, Score
from dereflect.methods.family import Family

FAMILY = Family(
    name="dmdnet",
    package=__package__,
    cards=(
        ModelCard(
            name="dmdnet",
            family="dmdnet",
            summary="depth-guided state-space network with memory banks, day and night",
            paper="arXiv 2601.00322 (AAAI 2026)",
            licence="the authors' weights: see their repository",
            weights="fetch the authors' model_latest.pt and memory_banks_latest.pt, "
            "and dpt_next_vit_large_384.pt of MiDaS v3.1",
            megabytes=640.0,
            title="DMDNet, for day and night",
            plain="Slow without a graphics card. Judges by how far away things are.",
            trained_on="7,643 pairs of VOC2012 pictures behind synthetic glass, 89 real pairs "
            "(Zhang et al. 2018) and 200 of Nature",
            published=(Score("public-daytime", 26.27, 0.889, "dmdnet", "the paper, main comparison"),),
        ),
    ),
    options=".method:DMDNetOptions",
    objectives={"dmdnet": ".objective:DMDNetObjective"},
    verbs={"depth": ".command:depth"},
)
