"""The command line: `python -m tools.embedded train | assemble | evaluate`."""

import argparse
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "embedded"
SHIPPED = ROOT / "workers" / "weights" / "embedded"


def train_and_assemble(work: Path, shipped: Path) -> None:
    """Train, or finish training, then write the shipped folder."""
    from tools.embedded.assemble import assemble
    from tools.embedded.train import train

    assemble(train(work), shipped)


def assemble_checkpoints(work: Path, shipped: Path) -> None:
    """Write the shipped folder from the newest checkpoints, finished or not."""
    from tools.embedded.assemble import assemble
    from tools.embedded.train import newest_checkpoints

    assemble(newest_checkpoints(work), shipped)


def evaluate_shipped(work: Path, shipped: Path) -> None:
    """Score the shipped folder; write its scores and its model card."""
    from tools.embedded.card import write_card
    from tools.embedded.evaluate import evaluate

    evaluate(shipped, sheet=work / "evaluation.png")
    write_card(shipped)


COMMANDS = {"train": train_and_assemble, "assemble": assemble_checkpoints, "evaluate": evaluate_shipped}


def main() -> None:
    """Run the command that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.embedded", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument(
        "--work", type=Path, default=WORK, help="samples, checkpoints and sheets (default: %(default)s)"
    )
    parser.add_argument("--shipped", type=Path, default=SHIPPED, help="the model's folder (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    COMMANDS[arguments.command](arguments.work, arguments.shipped)


if __name__ == "__main__":
    main()
