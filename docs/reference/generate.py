"""Fills the reference pages from the code.

`make reference` writes the pages of the repository, which a forge shows. When mkdocs builds the
site, the Python page gets the full documentation of every name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import click
from pydantic import BaseModel

import djservice
from djservice import cuts, observables
from djservice.cli import app as cli
from djservice.config import run as config
from djservice.estimators import registry as estimators
from djservice.events import augment
from djservice.radius_models import builtin as radius_model
from djservice.radius_models import features
from djservice.weight_models import builtin as weight_models
from djservice.weight_models import features as particle_features


def on_page_markdown(markdown: str, **context: Any) -> str:
    """Called by mkdocs with the Markdown of each page; replace what is between the markers."""
    markdown = re.sub(r"<!-- site\n(.*?)-->", r"\1", markdown, flags=re.DOTALL)
    return filled(markdown, MAKERS | {"names-of-python": api})


def on_config(config: Any) -> Any:
    """Called by mkdocs with its settings; the site says which version it is of."""
    config["site_name"] = f"{config['site_name']} {djservice.__version__}"
    return config


def filled(markdown: str, makers: Mapping[str, Callable[[], Iterator[str]]]) -> str:
    """A page with what the makers give between ``<!-- NAME -->`` and ``<!-- end of NAME -->``."""
    for name, make in makers.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        if start in markdown:
            head, _, rest = markdown.partition(start)
            tail = rest.partition(end)[2]
            text = "\n".join(make()).strip()
            markdown = f"{head}{start}\n{text}\n\n{end}{tail}"
    return markdown


def write_pages() -> None:
    """Write the pages of the repository anew."""
    for page in PAGES:
        page.write_text(filled(page.read_text(), MAKERS))


def on_page_content(html: str, **context: Any) -> str:
    """Called by mkdocs with the HTML of each page; remove the Sphinx roles of docstrings."""
    return re.sub(r":(?:func|class|data|attr|meth|mod):\s*<code>", "<code>", html)


def configuration() -> Iterator[str]:
    """Lines with every key of a run, in a table for each section."""
    for name, field in config.Run.model_fields.items():
        model = _model(field.annotation)
        if model is None:
            yield f"**`{name}`**: {field.description}. {_default(field)}\n"
    for name, field in config.Run.model_fields.items():
        model = _model(field.annotation)
        if model is not None:
            yield f"## {name}\n\n{inspect.getdoc(model)}\n"
            yield "| key | default | meaning |\n|---|---|---|"
            for key, entry in model.model_fields.items():
                meaning = _cell(entry.description or "")
                yield f"| `{entry.alias or key}` | {_default(entry)} | {meaning} |"
            yield ""


def commands() -> Iterator[str]:
    """Lines with the help of every command."""
    parent = click.Context(cli.main, info_name="djservice", **cli.main.context_settings)
    yield from _helps(cli.main, parent, "")


def _helps(group: click.Group, parent: click.Context, before: str) -> Iterator[str]:
    """Lines with the help of the commands of a group, and of groups within."""
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        width = {"terminal_width": 100, "max_content_width": 100}
        context = click.Context(command, info_name=name, parent=parent, **width)
        yield f"## {before}{name}\n\n```text\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            yield from _helps(command, context, f"{before}{name} ")


def names() -> Iterator[str]:
    """Lines with all names that a configuration can use, their parameters and descriptions."""
    groups: dict[str, dict[str, Callable[..., Any]]] = {
        "Observables": observables.named_observables(),
        "Cuts": cuts.named_cuts(),
        "Features of a radius model": features.named_features(),
        "Radius models": radius_model.named_models(),
        "Augmentations": dict(augment.AUGMENTATIONS),
        "Features of particles": particle_features.named_particle_features(),
        "Weight models": weight_models.named_weight_models(),
        "Estimators": {estimator.name: estimator for estimator in estimators.ESTIMATORS},
    }
    for title, makers in groups.items():
        yield f"## {title}\n\n| name | parameters | |\n|---|---|---|"
        for name, make in makers.items():
            parameters = [str(p) for p in inspect.signature(make).parameters.values()]
            cells = ", ".join(f"`{_plainly(p)}`" for p in parameters)
            yield f"| `{name}` | {cells} | {_first_line(make)} |"
        yield ""


def api() -> Iterator[str]:
    """Lines that include the public names, in the order of the flow of data."""
    for name in djservice.__all__:
        member = getattr(djservice, name)
        if inspect.ismodule(member):
            yield f"## {name}\n\n::: {member.__name__}\n"
        else:
            yield f"## {name}\n\n::: {member.__module__}.{member.__qualname__}"
            yield "    options: {inherited_members: true}\n" if name == "Store" else ""


def short_api() -> Iterator[str]:
    """Lines with the public names and the first lines of their documentation."""
    yield "| name | |\n|---|---|"
    for name in djservice.__all__:
        member = getattr(djservice, name)
        yield f"| `{name}` | {_without_roles(_cell((inspect.getdoc(member) or '').split(chr(10))[0]))} |"


MAKERS: dict[str, Callable[[], Iterator[str]]] = {
    "configuration": configuration,
    "commands": commands,
    "names": names,
    "names-of-python": short_api,
}
PAGES = sorted(Path(__file__).parent.glob("*.md"))


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model of the section, or sections, that a key holds; None for a plain key."""
    if (
        inspect.isclass(annotation)
        and get_origin(annotation) is None
        and issubclass(annotation, BaseModel)
    ):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model(part))), None)


def _default(field: Any) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        value = list(value)
    return "null" if value is None else f"`{value}`" if value != "" else ""


def _first_line(make: Callable[..., Any]) -> str:
    # A lambda makes an object without parameters.
    target = make() if make.__name__ == "<lambda>" else make
    described = target if inspect.isclass(target) else getattr(target, "function", target)
    return _cell((inspect.getdoc(described) or "").split("\n")[0])


def _without_roles(text: str) -> str:
    """Text of a docstring without the roles of Sphinx."""
    return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text.replace("``", "`"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plainly(parameter: str) -> str:
    return parameter.replace("'", "").replace("|", "or")


if __name__ == "__main__":
    write_pages()
