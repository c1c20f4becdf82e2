"""A curation's config: what a submitter wants of a file before it is validated. Pure data, without any file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StrictBool, Tag, model_validator

type Scalar = StrictBool | int | float | str
type Value = Scalar | Annotated[tuple[str, ...], Field(min_length=1)]
type UnsValue = StrictBool | int | float | str | tuple[UnsValue, ...] | dict[str, UnsValue]
type Unmapped = Literal["error", "keep", "unknown"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Constant(_Part):
    """One value for all rows. A list is several terms of one value."""

    value: Value

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        return cast(object, data) if isinstance(data, Mapping) else {"value": data}


class Taken(_Part):
    """The values of another column, as they are."""

    column: str


class Mapped(_Part):
    """A value for each value of another column. `unmapped` None stands for what the whole config says."""

    column: str
    values: dict[str, Value] = Field(validation_alias="map")
    unmapped: Unmapped | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        short = _short_form(data)
        return data if short is None else {"column": short[0], "map": short[1]}


def _short_form(data: object) -> tuple[str, Mapping[str, Any]] | None:
    """`{column: {value: term}}`, which a column of any name may have, `column` and `map` included."""
    if isinstance(data, Mapping) and len(cast(Mapping[str, Any], data)) == 1:
        [(column, values)] = cast(Mapping[str, Any], data).items()
        if isinstance(values, Mapping):
            return column, cast(Mapping[str, Any], values)
    return None


def _kind(data: object) -> str:
    if isinstance(data, Constant | Taken | Mapped):
        return type(data).__name__.lower()
    if not isinstance(data, Mapping):
        return "constant"
    return "mapped" if _short_form(cast(object, data)) is not None or "map" in data else "taken"


type Rule = Annotated[
    Annotated[Constant, Tag("constant")] | Annotated[Taken, Tag("taken")] | Annotated[Mapped, Tag("mapped")],
    Discriminator(_kind),
]


class Genes(_Part):
    """Where genes are named, and what happens to those that the schema does not know.

    Attributes:
        names: `index`, or a column of var (and of raw.var): gene symbols or ids.
        unknown: an error, or dropped from all matrices.
    """

    names: str = "index"
    unknown: Literal["error", "drop"] = "error"


class MatrixRule(_Part):
    """What a matrix is made of.

    Attributes:
        source: a matrix of the original file: `X`, `raw.X`, `layers.NAME` (`from` in the config).
        undo: a transformation that is taken back: `log1p` of counts normalised to `target_sum`.
        target_sum: what each cell's counts summed up to after normalising.
        totals: a column of obs with each cell's counts before that.
        dtype: what the values are cast to.
        rounding: whether a cast may lose decimals.
    """

    source: str = Field(validation_alias="from")
    undo: Literal["log1p"] | None = None
    target_sum: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    totals: str = ""
    dtype: Literal["float32"] | None = None
    rounding: Literal["refuse", "allow"] = "refuse"

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        return {"from": data} if isinstance(data, str) else data


def _section(data: object) -> object:
    """A section whose lines are all commented out is an empty one."""
    return {} if data is None else data


type Section[T] = Annotated[dict[str, T], BeforeValidator(_section)]


class Config(_Part):
    """All that a config says.

    Attributes:
        schema_version: None for the newest.
        unmapped: what happens to values that a map does not have.
        tidy: whether all matrices are looked through, and what the schema does not allow is mended.
        uns: by key.
        obs: by column.
        var: by column.
        genes: how genes become ids of the reference.
        matrices: by target (`X`, `raw.X`, `layers.NAME`); sources are as they are in the original file.
        drop: elements left out: `obs.patient_name`, `layers.old`, `raw`.
    """

    schema_version: str | None = None
    unmapped: Unmapped = "error"
    tidy: StrictBool = True
    uns: Section[UnsValue] = Field(default_factory=dict[str, UnsValue])
    obs: Section[Rule] = Field(default_factory=dict[str, Rule])
    var: Section[Rule] = Field(default_factory=dict[str, Rule])
    genes: Annotated[Genes, BeforeValidator(_section)] = Field(default_factory=Genes)
    matrices: Section[MatrixRule] = Field(default_factory=dict[str, MatrixRule])
    drop: Annotated[tuple[str, ...], BeforeValidator(lambda data: () if data is None else data)] = ()


@dataclass(frozen=True, slots=True)
class Curation:
    """A config and where in its file each thing is said.

    Attributes:
        config: what is said.
        name: of the config's file, for messages.
        lines: the line of each key (counted from 1) by its path: ("obs", "donor_id", "column").
    """

    config: Config
    name: str = "curation.yaml"
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict[tuple[str, ...], int])

    def where(self, *path: str) -> str:
        """`curation.yaml, line 12`: the line of a path or of its nearest known parent."""
        for size in range(len(path), 0, -1):
            line = self.lines.get(path[:size])
            if line is not None:
                return f"{self.name}, line {line}"
        return self.name

    def where_mapped(self, section: str, name: str, column: str, value: str) -> str:
        """The line of a value of a map, in whichever of the two forms the map is written."""
        short = (section, name, column, value)
        return self.where(*short) if short in self.lines else self.where(section, name, "map", value)
