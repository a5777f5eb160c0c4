"""The command ``mlsys plan``. What it computes is lab 7's component, which early editions do not hold."""

import json
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..substrate.errors import CourseProblem
from ..substrate.model_config import ModelConfig, RotaryScaling
from ..substrate.presets import preset
from . import plan_view

EXAMPLE = "Example: mlsys plan llama2-7b --gpu h100 --gpus 64 --tokens 2e12 --price 2.5 --picture plan.png"
Model = Annotated[str, typer.Argument(help="A preset such as llama2-7b, or a JSON file with a configuration's sizes.")]
Count = Annotated[int | None, typer.Option(help="How many cards; or give --days.")]
Days = Annotated[float | None, typer.Option(help="In how many days; or give --gpus.")]
Price = Annotated[float | None, typer.Option(help="Of one card for an hour, in your currency.")]


def plan(
    model: Model,
    tokens: Annotated[float, typer.Option(help="Training tokens in all, such as 2e12.")],
    gpu: Annotated[str, typer.Option(help="A card, p100 to b200.")] = "h100",
    gpus: Count = None,
    days: Days = None,
    link: Annotated[str | None, typer.Option(help="The wire; default: NVLink up to 8 cards, then InfiniBand.")] = None,
    time: Annotated[int | None, typer.Option(help="Tokens of a sequence; default: the context, at most 8192.")] = None,
    batch_tokens: Annotated[int, typer.Option(help="Tokens of a step, on all cards.")] = 4 * 2**20,
    micro_batch: Annotated[int | None, typer.Option(help="Sequences a card takes at once; default: as fit.")] = None,
    mfu: Annotated[float, typer.Option(help="Part of the card's peak that is achieved: an assumption.")] = 0.4,
    dtype: Annotated[str | None, typer.Option(help="Of matrix products; default: bfloat16 where the card can.")] = None,
    attention: Annotated[str, typer.Option(help="fused (flash) or eager.")] = "fused",
    price: Price = None,
    picture: Annotated[Path | None, typer.Option(help="Write the memory of all options to this PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """How many cards, how many days, what fits: at which ZeRO stage, checkpointing and batch. Nothing is allocated.

    Ends with 1 where nothing fits, and says by how much and what would help.
    """
    accounting = accounting_of("plan")
    run = accounting_of("run").run_of(
        configuration(model), tokens, gpu, gpus=gpus, days=days, link=link, time=time, batch_tokens=batch_tokens,
        micro_batch=micro_batch, mfu=mfu, dtype=dtype, attention=attention, price=price,
    )  # fmt: skip
    planned = accounting.plan(run)
    if picture is not None:
        save(plan_view.plan_picture(planned), picture)
    if as_json:
        typer.echo(json.dumps(plan_view.to_dict(planned), indent=2))
    else:
        console = Console()
        console.print(*plan_view.summary(planned), sep="\n", highlight=False, markup=False, soft_wrap=True)
        console.print(plan_view.options_table(planned))
    raise typer.Exit(0 if planned.best else 1)


def accounting_of(module: str) -> Any:
    """A module of lab 7's component. The desk may not import it by name: an edition may lack it."""
    try:
        return import_module(f"mlsys_course.accounting.{module}")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("mlsys_course.accounting"):
            raise
        raise CourseProblem(
            "mlsys plan comes with lab 8: until then lab 7 asks you to write what it computes"
        ) from error


def configuration(model: str) -> ModelConfig:
    """A preset, or what a JSON file holds."""
    if not model.endswith(".json"):
        return preset(model)
    try:
        sizes = json.loads(Path(model).read_text(encoding="utf-8"))
        if isinstance(sizes.get("rotary_scaling"), dict):
            sizes["rotary_scaling"] = RotaryScaling(**sizes["rotary_scaling"])
        return ModelConfig(**sizes)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, CourseProblem):
            raise
        raise CourseProblem(f"{model}: {error}; give a JSON object with the fields of ModelConfig") from error


def save(figure: Any, path: Path) -> None:
    """As PNG; a file that is there already stays."""
    if path.exists():
        raise CourseProblem(f"{path} is there already; give another name, or delete it")
    if path.suffix.lower() != ".png" or not path.parent.is_dir():
        raise CourseProblem(f"--picture {path}: give a name that ends in .png, in a folder that exists")
    figure.savefig(path, dpi=150)
