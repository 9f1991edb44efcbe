"""The embedded default model, as the catalog knows it."""

from dereflect.methods.card import ModelCard
from dereflect.methods.family import Family

FAMILY = Family(
    name="default",
    package=__package__,
    cards=(
        ModelCard(
            name="default",
            family="default",
            summary="fast two-stream network of our own, for any machine",
            paper="",
            licence="Apache-2.0",
            weights="embedded",
            megabytes=20.0,
            speed="0.24 s for 1 megapixel, 0.84 s for 12, on 2 CPU threads of an EPYC in bfloat16",
            quality="T +4.3 dB PSNR over the photo on 9 held-out real pairs, +6.2 on CEILNet's 100",
            trained_on="real pairs (80 of the 89 of Zhang et al. 2018), and photo collections behind "
            "synthetic glass",
            title="Everyday",
            plain="Some seconds on any computer. Best on soft reflections; "
            "hard and bright ones stay in part.",
        ),
    ),
    traced=".method:traced",
    objectives={"default": ".objective:DefaultObjective"},
)
