"""DiffRS, as the catalog knows it."""

from dereflect.methods.card import ModelCard, Score
from dereflect.methods.family import Family, Preparation

FAMILY = Family(
    name="diffrs",
    package=__package__,
    cards=(
        ModelCard(
            name="diffrs",
            family="diffrs",
            summary="joint latent diffusion: both layers generated together; slow, for a GPU or patience",
            paper="arXiv 2606.04107 (CVPR 2026)",
            licence="weights under the authors' terms; base model CreativeML Open RAIL++-M",
            weights="fetched by  dereflect models download diffrs",
            megabytes=4070.0,
            at_work=8400,  # weights, and 5.1 kB a pixel at 960x960
            for_gpu=True,
            title="DiffRS, generative",
            plain="Slow: for a graphics card, or much patience. Repaints what a reflection hides, "
            "and may invent.",
            trained_on="7,643 VOC2012 pictures for synthetic glass, 90 real pairs (Zhang et al. 2018) and "
            "200 of Nature, from Stable Diffusion 2.1",
            published=(Score("real20", 25.32, 0.85, "diffrs", "the project page's transmission table"),),
        ),
    ),
    options=".settings:DiffRSOptions",
    recognises_folder=".method:recognises_folder",
    download=".method:download",
    present=".fetch:is_here",
    objectives={
        "diffrs-unet": ".objective:UNetObjective",
        "diffrs-synthesis": ".objective:SynthesisObjective",
        "diffrs-fgfm": ".fusion_training:FusionObjective",
    },
    preparations={
        "latents": Preparation(
            objective="diffrs-fgfm",
            run=".fusion_training:make_latents",
            help="""Store what the fine-tuned sampler makes of training crops, which a fusion training needs.

            An interrupted run goes on where it stopped. They go into the recipe's data folder, under
            settings.latents.""",
        )
    },
)
