"""Methods that were not trained here, of four kinds: results, checkpoint, python and command of config/methods/."""

import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from mperceiver.config.base import Model, Name, Positive
from mperceiver.config.sources import FilePath

OUTSIDE_KINDS = ("results", "checkpoint", "python", "command")  # kinds of method; each has a key of its own name
RESTORED_ELSEWHERE = ("results", "command")  # those whose pictures another program restored


class Results(Model):
    """Pictures that were restored elsewhere: `folder`/<dataset>/<picture id>.png, and `folder`/manifest.yaml."""

    folder: str = Field(
        description="folder with the pictures, absolute or relative to the working directory", min_length=1
    )


class Manifest(Model):
    """manifest.yaml beside restored pictures: what they are."""

    method: str = Field(description="the method's name", min_length=1)
    source: str = Field(description="where the pictures come from: an address, or who made them and how", min_length=1)
    trained_on: list[str] = Field(
        description="what the method was trained on; where it is a dataset of config/datasets/, its name, so that test pictures "
        "among the training pictures are found",
        min_length=1,
    )
    date: datetime.date = Field(description="day on which they were made or downloaded")
    code: str = Field("", description="repository and commit of the method's code")
    weights: str = Field("", description="name and SHA-256 of the file of weights")
    notes: str = Field("", description="how the method was run: padding, tiles, resizing")


class Checkpoint(Model):
    """Published weights: a file of the method's foundation, read by spandrel."""

    architecture: str = Field(
        description="name of the architecture in spandrel, such as SwinIR; a file of another one is refused",
        min_length=1,
    )
    file: FilePath | None = Field(None, description="path of the file in the foundation; none: that of `files`")
    files: dict[Name, FilePath] = Field(
        {}, description="dataset: path of the file that restores it, in place of `file`"
    )
    arguments: dict[str, Any] = Field(
        {}, description="of PromptIR and Restormer, where the network differs from the published size"
    )
    colour: Literal["rgb", "luma", "channels"] = Field(
        "rgb",
        description="of a network of grey pictures: luma: it restores the luma of BT.601, the chroma stays; channels: it restores "
        "red, green and blue one by one; rgb: a network of colour pictures",
    )
    sigma_255: float | None = Field(
        None, ge=0, le=255, description="noise level that the network is told, for DRUNet and FDnCNN; 0 to 255"
    )
    multiple: Positive | None = Field(
        None,
        description="px; sides of padded pictures are multiples of it; none: what spandrel says of the architecture",
    )

    @model_validator(mode="after")
    def _check_files(self) -> "Checkpoint":
        if self.file is None and not self.files:
            raise ValueError("a checkpoint needs a `file`, or `files` for single datasets")
        return self


class Python(Model):
    """A module of yours: a function that returns a torch.nn.Module."""

    entry: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="package.module:function; modules in the working directory are found too",
    )
    arguments: dict[str, Any] = Field({}, description="arguments of the function")
    multiple: Positive = Field(1, description="px; sides of padded pictures are multiples of it")
    minimum: Positive = Field(1, description="px; sides of padded pictures are at least this long")
    reads: list[str] = Field(
        [],
        description="files that it reads, such as weights; their SHA-256 go into the card, and a change restores again",
    )


class Command(Model):
    """A program that turns a folder of degraded pictures into a folder of restored ones."""

    run: str = Field(
        description="command line of a shell, run in the working directory; {input} and {output} stand for the two folders",
        min_length=1,
    )
    container: str | None = Field(
        None,
        description="image that it runs in, by apptainer: a .sif file, a change of which restores again, or an address such as "
        "docker://owner/name:tag",
    )
    conda: str | None = Field(None, description="name or path of the conda environment that it runs in")
    reads: list[str] = Field(
        [],
        description="files that it reads: its code, its weights; their SHA-256 go into the card, and a change restores again",
    )

    @model_validator(mode="after")
    def _check_run(self) -> "Command":
        for folder in ("{input}", "{output}"):
            if folder not in self.run:
                raise ValueError(f"`run` lacks {folder}, which stands for a folder")
        if self.container and self.conda:
            raise ValueError("give either `container` or `conda`")
        return self

    @property
    def image(self) -> Path | None:
        """The path of the image in `container`; None if that is an address."""
        return None if self.container is None or "://" in self.container else Path(self.container).expanduser()
