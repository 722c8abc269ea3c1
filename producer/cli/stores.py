"""Commands about what a store holds, and which Redis serves it: adopt-store, delete."""

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
               "controls/ nothing was removed: other runs may use it.")  # fmt: skip


COMMANDS = (adopt_store, delete)
