"""config/README.md: every key of every kind of file, from the typed models in mperceiver/config/; `make docs` writes it."""

import inspect
import re
from typing import Any

from mperceiver import config
from mperceiver.config.base import Model
from mperceiver.config.experiments import Experiment
from tools.blocks import cell, prose, table_lines

INTRO = """\
# Configuration

<!-- Generated from mperceiver/config/ by tools/config_reference.py: change those, then run `make docs`. -->

**A name in a path is the name of a file here**, without `.yaml`. `results/scores/demo/demo-mid6.csv` exists because there are
`config/methods/demo.yaml` and `config/datasets/demo-mid6.yaml`. To learn what a thing is, open that file. To add a thing, add a file.
Names have lower-case letters, digits and single hyphens.

| file | what it describes | where its name is used | how to add one |
|---|---|---|---|
| `foundations/<name>.yaml` | frozen weights: Stable Diffusion and CLIP | `data/foundations/<name>/` | [how](../docs/foundations.md) |
| `datasets/<name>.yaml` | pictures, or pairs of pictures | `data/raw/<name>/`, `data/prepared/<name>.arrow` | [how](../docs/add-a-dataset.md), \
[a degradation](../docs/add-a-degradation.md) |
| `runs/<name>.yaml` | how weights are trained | `results/runs/<name>/<stage>.safetensors` | [how](../docs/add-a-method.md) |
| `methods/<name>.yaml` | how a picture is restored | `results/restored/<name>/<dataset>/`, `results/scores/<name>/<dataset>.csv` | \
[how](../docs/add-a-method.md) |
| `protocols/<name>.yaml` | how a picture is scored | in the card of every score | [how](../docs/protocols.md) |
| `tables/<name>.yaml` | a table: methods down, datasets across | `results/tables/<name>.html`, `.csv`, `.tex` | [how](../docs/add-a-table.md) |
| `figures/<name>.yaml` | pictures side by side, curves, bars | `results/figures/<name>.png` | [how](../docs/add-a-table.md) |
| `<name>.yaml` | an experiment: which tables and figures to build | `results/report/<name>/` | [how](../docs/add-a-table.md) |

`snakemake` builds the experiment `demo.yaml`, unless you name another one with `--configfile config/<name>.yaml`.

**Like another file.** Any file may say `like: NAME`. It then takes every key that it does not give itself from that file of its own folder. This
works key by key at any depth; a list is taken as a whole. `null` removes a key. For example, `config/runs/demo-textual.yaml` is the demo's run
without the visual branch:

```yaml
title: Ablation, textual branch only
like: demo
model: {visual: false}       # the other keys of `model` are the demo's
reuse: {predictor: demo}     # use the demo's trained predictor
predictor: null              # so there is nothing to train in that stage
drm: null
latents: null
```

**Mistakes are refused.** If a key is unknown or given twice, or a value has the wrong type or is out of range, the error names the file, the
key, and the nearest key that exists. A key that does nothing for the kind of method or figure, or for the stage, is refused too, unless it has
its default value. Snakemake's `--config` is refused: change the file.

All keys follow. A key without a default is *required*. A *name* is the name of a file, as above.
"""


def page() -> str:
    """The whole of config/README.md."""
    done: set[str] = set()
    kinds = [Experiment, *config.KINDS.values()]
    return "\n".join([INTRO, *(section(model, done, "##") for model in kinds)])


def models() -> dict[str, type[Model]]:
    """Every model of mperceiver.config, by its name."""
    named, unvisited = {}, [Model]
    while unvisited:
        children = unvisited.pop().__subclasses__()
        unvisited += children
        named |= {model.__name__: model for model in children}
    return named


def section(model: type[Model], done: set[str], mark: str) -> str:
    """A model's keys as a table, then a section for each model inside it that is not ``done`` yet. ``mark``: of the heading."""
    done.add(model.__name__)
    schema = model.model_json_schema(by_alias=True)
    base = next(cls for cls in model.__mro__[1:] if issubclass(cls, Model))
    inherited = set(base.model_json_schema(by_alias=True)["properties"]) if base is not Model else set()
    text = [f"{mark} {model.__name__}", "", prose(" ".join(inspect.getdoc(model).split())), ""]
    if inherited:
        text += [f"Every key of {link(base.__name__)}, and:", ""]
    rows = []
    for key, value in schema["properties"].items():
        if key not in inherited:
            default = "*required*" if key in schema.get("required", []) else default_of(value)
            rows.append([f"`{key}`", value_of(value), default, cell(value.get("description", ""))])
    text += [*table_lines(["key", "value", "default", "what it is"], rows), ""]
    inside = [models()[name] for name in references(schema["properties"]) if name not in done]
    for part in inside:
        if part.__name__ not in done:
            text.append(section(part, done, "###"))
    return "\n".join(text)


def references(schema: Any) -> list[str]:
    """The models that a schema names, in order."""
    if isinstance(schema, dict):
        own = [schema["$ref"].rpartition("/")[2]] if "$ref" in schema else []
        return own + [name for key, value in schema.items() if key != "default" for name in references(value)]
    return [name for value in schema for name in references(value)] if isinstance(schema, list) else []


def value_of(schema: dict) -> str:
    """The values that a key may have, in words."""
    if "$ref" in schema:
        return link(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(value_of(part) for part in schema[several] if part.get("type") != "null")
    if "prefixItems" in schema:
        return "list of " + " and ".join(value_of(part) for part in schema["prefixItems"])
    kind = schema.get("type")
    if kind == "array":
        return "list of " + re.sub("^(name|whole number|number)", r"\1s", value_of(schema["items"]))
    if kind == "object":
        keys = schema.get("propertyNames", {})
        named = "patternProperties" in schema
        inside = next(iter(schema["patternProperties"].values())) if named else schema.get("additionalProperties")
        key = value_of(keys) if "enum" in keys else "name" if named else "key"
        return f"mapping of {key} to {value_of(inside) if isinstance(inside, dict) else 'anything'}"
    if kind == "string":
        return "name" if schema.get("pattern") == f"^{config.NAME.pattern}$" else "text"
    if kind == "boolean":
        return "`true` or `false`"
    if kind in ("integer", "number"):
        return ("whole number" if kind == "integer" else "number") + limits(schema)
    return "anything"


def limits(schema: dict) -> str:
    """The range of a number, in words."""
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    return ",".join(f" {sign} {schema[key]:g}" for key, sign in signs.items() if key in schema)


def default_of(schema: dict) -> str:
    """A default as it would be written."""
    default = schema.get("default")
    if "$ref" in schema:
        return "its defaults"
    if default in (None, "", [], {}):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, list):
        return f"`[{', '.join(map(str, default))}]`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def link(name: str) -> str:
    return f"[{name}](#{name.lower()})"
