"""WindowSeat, as the catalog knows it."""

from dereflect.methods.card import ModelCard, Score
from dereflect.methods.family import Family

_SOURCE = "the repository's README, weights under Apache 2.0"

FAMILY = Family(
    name="windowseat",
    package=__package__,
    cards=(
        ModelCard(
            name="windowseat",
            family="windowseat",
            summary="one step of Qwen-Image-Edit-2509 with an adapter; for a large GPU",
            paper="arXiv 2512.05000",
            licence="Apache-2.0, adapter and base model",
            weights="fetched by  dereflect models download windowseat",
            megabytes=44700.0,
            at_work=43700,  # in bfloat16: `fetch.WHOLE`
            for_gpu=True,
            title="WindowSeat, for a large graphics card",
            plain="Needs a graphics card with 16 to 48 GB and a download of about 45 GB. "
            "The best published numbers on the field's test photos; it may repaint.",
            published=(
                Score("nature", 27.57, 0.855, "windowseat", _SOURCE),
                Score("real20", 26.60, 0.864, "windowseat", _SOURCE),
                Score("sir2-objects", 28.85, 0.938, "windowseat", _SOURCE),
                Score("sir2-postcard", 28.70, 0.933, "windowseat", _SOURCE),
                Score("sir2-wild", 29.44, 0.936, "windowseat", _SOURCE),
            ),
        ),
    ),
    options=".settings:WindowSeatOptions",
    recognises_folder=".method:recognises_folder",
    download=".method:download",
    present=".fetch:is_here",
)
