"""Commands about what a store holds, and which Redis serves it: adopt-store, delete, prune, forget."""

import click

from producer.cli.running import AS_JSON, RUN


@click.command("adopt-store")
@click.option("--yes", is_flag=True, help="Also while workers are alive.")
@AS_JSON
def adopt_store(yes: bool, as_json: bool) -> None:
    """Let this Redis belong to the store of POSEMILL_STORE from now on; for a store that was moved on purpose."""
    from posemill.queue.ledger import open_ledger
    from posemill.queue.store_identity import adopt_store as adopt
    from posemill.storage.store import open_store
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json

    settings = local_settings()
    ledger = open_ledger(settings.redis_url.get_secret_value())
    adopted = adopt(open_store(settings.store), ledger, beside_workers=yes)
    if as_json:
        print_json(adopted)
        return
    click.echo(f"This Redis belongs to {adopted.store} now" + (f"; before to {adopted.before}" * bool(adopted.before)))
    if adopted.forgotten_runs:
        click.echo(f"It forgot open runs that are not in that store: {', '.join(adopted.forgotten_runs)}")


@click.command()
@RUN
@AS_JSON
def delete(run_id: str, as_json: bool) -> None:
    """Remove RUN, which must have ended, and all it made; sources and control images, which runs share, stay."""
    from posemill.contract.keys import checked_run_id
    from posemill.queue.opening import open_pair
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json
    from producer.runs.deleting import delete_run

    deleted = delete_run(*open_pair(local_settings()), checked_run_id(run_id))
    if as_json:
        print_json(deleted)
        return
    click.echo(f"{run_id}: {deleted.objects} objects removed, {deleted.size_bytes / 1e6:.1f} MB. Below sources/ and "
               "controls/ nothing was removed: `posemill prune` removes what no run uses.")  # fmt: skip


@click.command()
@click.option("--older-than", metavar="AGE", help="Remove runs that have ended and were submitted before, such as 90d.")
@click.option("--keep-last", type=click.IntRange(0), default=0, help="But keep so many of the newest, however old.")
@click.option("--name", "pattern", default="*", metavar="GLOB", help="Look only at runs whose id or name matches.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@AS_JSON
def prune(older_than: str | None, keep_last: int, pattern: str, dry_run: bool, as_json: bool) -> None:
    """Remove old runs, where --older-than says which, then the sources and control images that no run uses any more."""
    from posemill.queue.opening import open_pair
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json
    from producer.runs.listing import parse_age
    from producer.runs.pruning import prune as prune_store

    if keep_last and not older_than:
        raise click.UsageError("--keep-last spares runs that --older-than would remove; give both")
    age = parse_age(older_than) if older_than else None
    pruned = prune_store(
        *open_pair(local_settings()), older_than=age, keep_last=keep_last, pattern=pattern, dry_run=dry_run
    )
    if as_json:
        print_json(pruned)
        return
    verb = "would be removed" if dry_run else "removed"
    for run_id in pruned.runs:
        click.echo(f"run {run_id} {verb}")
    click.echo(
        f"{len(pruned.runs)} runs ({pruned.run_bytes / 1e6:.1f} MB), {pruned.sources} sources and {pruned.controls} "
        f"objects of control images ({pruned.shared_bytes / 1e6:.1f} MB) {verb}; {pruned.kept_bytes / 1e6:.1f} MB stay"
    )
    if pruned.kept_for_judges:
        click.echo(f"Other runs judge the images of {', '.join(pruned.kept_for_judges)}, which therefore stay.")
    if pruned.controls_kept_for:
        click.echo(
            f"Run {pruned.controls_kept_for} still detects, so all control images stay; prune again when it has."
        )


@click.command()
@click.argument("source")
@click.option("--dry-run", is_flag=True, help="Say what would be removed; remove nothing.")
@AS_JSON
def forget(source: str, dry_run: bool, as_json: bool) -> None:
    """Remove a photograph, and all that was made of it, from every run.

    SOURCE is a file with the same content, its SHA-256, or its name in a run's plan. Its runs must have ended.
    """
    from posemill.queue.opening import open_pair
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json
    from producer.runs.forgetting import forget as forget_source

    forgotten = forget_source(*open_pair(local_settings()), source, dry_run=dry_run)
    if as_json:
        print_json(forgotten)
        return
    verb = "would be removed" if dry_run else "removed"
    click.echo(
        f"{forgotten.identity}: {forgotten.objects} objects {verb}, {forgotten.items} images among them, from runs "
        f"{', '.join(forgotten.runs)}. Exports are not touched: export again into an empty folder."
    )


COMMANDS = (adopt_store, delete, prune, forget)
