"""The models: which are named, what of the Hub is on this machine, and how it comes there."""

from typing import Any

import click

from producer.cli.running import AS_JSON


@click.group(invoke_without_command=True)
@AS_JSON
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the named models, and what the Hub's cache on this machine holds; `pull` fetches what a recipe needs."""
    if context.invoked_subcommand:
        return
    from posemill.catalogue.models import MODELS
    from posemill.hub.cached import cached_models
    from producer.cli.printing import print_json, print_table

    held = cached_models()
    if as_json:
        named: list[dict[str, Any]] = [
            {"name": name, "base": row.base, "controlnets": sorted({row.controlnet, *row.controlnets.values()})}
            for name, row in MODELS.items()
        ]
        print_json({"named": named, "cached": held})
        return
    here = {model.model for model in held}
    rows = [(name, row.base, row.controlnet, "yes" if {row.base, row.controlnet} <= here else "")
            for name, row in MODELS.items()]  # fmt: skip
    print_table("", ["name", "base", "ControlNet", "fetched"], rows)
    click.echo()
    if not held:
        click.echo("The Hub's cache on this machine is empty.")
        return
    cached = [(model.model, f"{model.size_bytes / 1e6:,.1f} MB", ", ".join(commit[:12] for commit in model.commits))
              for model in held]  # fmt: skip
    print_table("", ["in the cache", "size", "commits"], cached)
    click.echo(f"{sum(model.size_bytes for model in held) / 1e6:,.1f} MB in all")


@models.command()
@click.argument("recipe", type=click.Path(dir_okay=False))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
@AS_JSON
def pull(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Fetch all models of RECIPE that its workers load, into the Hub's cache; what is there already is left."""
    from posemill.settings import load_settings
    from producer.cli.printing import FetchingBar, print_json, print_table
    from producer.local.pulling import pull as pull_models

    with FetchingBar() as bar:
        found = list(pull_models(recipe, overrides=overrides, settings=load_settings(), watch=bar.show))
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("The recipe needs nothing of the Hub.")
        return
    rows = [(each.model, each.commit[:12], each.variant or "-", each.files, f"{each.size_bytes / 1e6:,.1f} MB")
            for each in found]  # fmt: skip
    print_table("", ["model", "commit", "variant", "files", "size"], rows)


COMMANDS = (models,)
