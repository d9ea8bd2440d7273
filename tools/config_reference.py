"""config/README.md: every key of every kind of file, from the typed models in mperceiver/config/; `make docs` writes it."""

import inspect
import re
from typing import Any

from mperceiver import config
from mperceiver.config.base import Model
from mperceiver.config.experiments import Experiment

INTRO = """\
# Configuration

<!-- Generated from mperceiver/config/ by tools/config_reference.py: change those, then run `make docs`. -->

**A name in a path is the stem of a file here.** `results/scores/demo/demo-mid6.csv` exists because there are
`config/methods/demo.yaml` and `config/datasets/demo-mid6.yaml`. To learn what a thing is, open the file of that name; to add one, add a
file. Names are lower-case letters, digits and single hyphens.

| file | what it describes | where its name turns up | add one |
|---|---|---|---|
| `foundations/<name>.yaml` | the frozen Stable Diffusion and CLIP | `data/foundations/<name>/` | [how](../docs/foundations.md) |
| `datasets/<name>.yaml` | pictures, or pairs made of them | `data/raw/<name>/`, `data/prepared/<name>.arrow` | [how](../docs/add-a-dataset.md), \
[a degradation](../docs/add-a-degradation.md) |
| `runs/<name>.yaml` | how weights are made | `results/runs/<name>/<stage>.safetensors` | [how](../docs/add-a-method.md) |
| `methods/<name>.yaml` | how a picture is restored | `results/restored/<name>/<dataset>/`, `results/scores/<name>/<dataset>.csv` | \
[how](../docs/add-a-method.md) |
| `protocols/<name>.yaml` | how a picture is scored | in the card of every score | [how](../docs/protocols.md) |
| `tables/<name>.yaml` | a table: methods down, datasets across | `results/tables/<name>.html`, `.csv`, `.tex` | [how](../docs/add-a-table.md) |
| `figures/<name>.yaml` | pictures side by side, curves, bars | `results/figures/<name>.png` | [how](../docs/add-a-table.md) |
| `<name>.yaml` | an experiment: which tables and figures to build | `results/report/` | [how](../docs/add-a-table.md) |

`demo.yaml` is the experiment that `snakemake` builds by default; another one is named with `--configfile config/<name>.yaml`.

**Like another file.** Any file may say `like: NAME`: it then takes every key it does not give from the file of that name beside it, key by
key and however deep; a list is taken whole. `null` takes a key away. `config/runs/demo-textual.yaml` is the demo's run with one switch:

```yaml
title: Ablation, textual branch only
like: demo
model: {visual: false}       # the other widths stay the demo's
reuse: {predictor: demo}     # its trained predictor is taken as it is
predictor: null              # so there is nothing to train in that stage
drm: null
latents: null
```

**Mistakes are refused.** An unknown key, a key given twice, a value of the wrong type or outside its range: the message names the file,
the key, and the nearest key there is.

Below is every key. *Required* stands where there is no default. A *name* is the stem of a file as above.
"""


def page() -> str:
    """The whole of config/README.md."""
    done: set[str] = set()
    kinds = [Experiment, *config.KINDS.values()]
    return "\n".join([INTRO, *(section(model, done, "##") for model in kinds)])


def models() -> dict[str, type[Model]]:
    """Every model of mperceiver.config, by its name."""
    found, waiting = {}, [Model]
    while waiting:
        waiting += (below := waiting.pop().__subclasses__())
        found |= {model.__name__: model for model in below}
    return found


def section(model: type[Model], done: set[str], mark: str) -> str:
    """A model's keys as a table, then those of the models inside it that have not had theirs."""
    done.add(model.__name__)
    schema = model.model_json_schema(by_alias=True)
    base = next(cls for cls in model.__mro__[1:] if issubclass(cls, Model))
    inherited = set(base.model_json_schema(by_alias=True)["properties"]) if base is not Model else set()
    text = [f"{mark} {model.__name__}", "", " ".join(inspect.getdoc(model).split()), ""]
    if inherited:
        text += [f"Every key of {link(base.__name__)}, and:", ""]
    text += ["| key | value | default | what it is |", "|---|---|---|---|"]
    for key, value in schema["properties"].items():
        if key not in inherited:
            default = "*required*" if key in schema.get("required", []) else shown(value)
            text.append(f"| `{key}` | {words(value)} | {default} | {cell(value.get('description', ''))} |")
    text.append("")
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


def words(schema: dict) -> str:
    """What may stand there, in words."""
    if "$ref" in schema:
        return link(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(words(part) for part in schema[several] if part.get("type") != "null")
    if "prefixItems" in schema:
        return "list of " + " and ".join(words(part) for part in schema["prefixItems"])
    kind = schema.get("type")
    if kind == "array":
        return "list of " + re.sub("^(name|whole number|number)", r"\1s", words(schema["items"]))
    if kind == "object":
        keys = schema.get("propertyNames", {})
        named = "patternProperties" in schema
        inside = next(iter(schema["patternProperties"].values())) if named else schema.get("additionalProperties")
        key = words(keys) if "enum" in keys else "name" if named else "key"
        return f"mapping of {key} to {words(inside) if isinstance(inside, dict) else 'anything'}"
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


def shown(schema: dict) -> str:
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


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
