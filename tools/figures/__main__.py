"""The command line: `python -m tools.figures train | evaluate`."""

import argparse
from pathlib import Path

import torch

WORK = Path(__file__).resolve().parents[2] / "build" / "figures"


def main() -> None:
    """Run the command that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.figures", description=__doc__)
    parser.add_argument("command", choices=("train", "assemble", "evaluate"))
    parser.add_argument("--work", type=Path, default=WORK, help="scenes, checkpoints and sheets (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.command == "train":
        from tools.figures.assembling import assemble
        from tools.figures.training import train

        assemble(train(arguments.work))
    elif arguments.command == "assemble":
        from tools.figures.assembling import assemble
        from tools.figures.training import resume

        assemble(resume(arguments.work))
    else:
        from tools.figures.evaluating import evaluate

        evaluate(arguments.work)


if __name__ == "__main__":
    main()
