"""Model cards: what a person wants to know before loading a model, and what would be fetched for it."""

from __future__ import annotations

from dataclasses import dataclass

from dereflect.methods.costs import Cost, measured_cost_of


@dataclass(frozen=True)
class Score:
    """A result of the transmission that its authors published."""

    data: str
    """Name of the data set (`dereflect.data.known_sets`), or the authors' own words for it."""
    psnr: float
    ssim: float | None
    protocol: str
    """How it was measured: a preset of `dereflect evaluate --protocol`, or words."""
    source: str
    """Paper and table, or the file that carries the number."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of weights that its authors offer, for `dereflect.methods.downloads`."""

    part: str
    """What it is called by ``--set PART=FILE``, e.g. ``weights``."""
    url: str
    megabytes: float
    licence: str
    """Of the file; "not stated" where the authors state none."""
    sha256: str = ""
    """As published, all digits or the first eight or more; "" if none is, and the first use records it."""
    file_name: str = ""
    """File name at its source, where the address does not end in it."""

    @property
    def name(self) -> str:
        """File name, as at its source."""
        return self.file_name or self.url.rpartition("/")[2]


@dataclass(frozen=True)
class ModelCard:
    """What a person wants to know before loading a model."""

    name: str
    family: str
    summary: str
    paper: str
    licence: str
    """Of the weights."""
    weights: str
    """Where the weights come from: "embedded", or what to fetch."""
    megabytes: float
    speed: str = ""
    """Measured, with the machine, in a sentence; "" where it was not. `cost` holds numbers."""
    quality: str = ""
    """Measured by us, with the data; "" where it was not. `published` holds the authors' numbers."""
    title: str = ""
    """What the web page calls it."""
    plain: str = ""
    """Speed and quality in everyday words, for the web page."""
    code: str = "Apache-2.0"
    """Licence of the code that runs it here."""
    trained_on: str = ""
    """Training data of the weights; "" where it is not known."""
    published: tuple[Score, ...] = ()
    cost: Cost | None = None
    """If not given, what `measured_cost_of` knows of the name: None where it was not measured."""
    at_work: float = 0.0
    """MiB at the size at which it runs, weights included: an estimate from its traits; 0 if `cost` tells."""
    for_gpu: bool = False
    """Whether it takes hours without a GPU, so that nobody should be given it unasked."""
    files: tuple[RemoteFile, ...] = ()
    """What `dereflect models download NAME` fetches."""

    def __post_init__(self) -> None:
        if self.cost is None:
            object.__setattr__(self, "cost", measured_cost_of(self.name))
