"""The command that gives a Redis to another store."""

import click

from producer.cli.running import AS_JSON


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


COMMANDS = (adopt_store,)
