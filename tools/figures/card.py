"""The card, written from the files that training and evaluation left beside the weights."""

import json
from pathlib import Path

CARD = """# figures

`model.safetensors` holds the weights of a network that finds the people whom the embedded model draws: {parameters:,} \
numbers in float16, {megabytes:.2f} MB. `workers/detecting/movenet/figures_network.py` is its \
architecture; its maps are read as MoveNet's are. It is the judge of the demo and of the tests (`verify` with \
`check: pose, detector: figures`), and of photographs it knows nothing.

- **Origin**: trained from nothing by `python -m tools.figures train` on {scenes:,} drawings by tools/embedded, three \
in five of them given back by the embedded model's autoencoder; {steps} steps, {minutes:.0f} minutes ({machine}). No \
photograph, no downloaded weight and no person's likeness went in.
- **Licence**: Apache-2.0, as posemill.
- **Finds**: bodies of up to six drawn people, 17 keypoints. No hands, no faces.

## How it judges

`python -m tools.figures evaluate`: the check `pose` with its default options and this detector.

Drawings whose clothes have the background's colour are left out: nobody can judge them.

| {held_out} held-out drawings, one in four wide or tall | reached | goal |
|---|---|---|
| accepted with the pose that they show | {right:.1%} | 97 % |
| rejected with another pose of as many people | {other:.1%} | 98 % |
| rejected where one person is missing from the picture | {few:.1%} | 97 % |
| rejected where one person is too many in the picture | {many:.1%} | 97 % |

Mean OKS of the drawings is {oks:.3f}. Of {images} images that the embedded model made for held-out poses, {made:.1%} \
are accepted, and with the next pose {made_other:.1%} are rejected. By the drawn world's own measure, which took no \
part in the training, {on_accepted:.1%} of the limbs' points lie on the figure in those that were accepted{on_rejected}.
"""


def write_card(folder: Path) -> None:
    """Write the folder's README.md."""
    results = json.loads((folder / "evaluation.json").read_text())
    history = json.loads((folder / "training.json").read_text())
    drawings, generated = results["drawings"], results["generated"]
    rejected = generated.get("on_figure_of_rejected")
    text = CARD.format(
        parameters=history["parameters"],
        megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
        scenes=sum(history["scenes"].values()),
        steps=history["training"]["steps"],
        minutes=history["training"]["minutes"],
        machine=history["machine"],
        held_out=results["scenes"],
        right=drawings["right_pose_accepted"],
        other=drawings["other_pose_rejected"],
        few=drawings["one_too_few_noticed"],
        many=drawings["one_too_many_noticed"],
        oks=drawings["mean_oks"],
        images=generated["images"],
        made=generated["right_pose_accepted"],
        made_other=generated["other_pose_rejected"],
        on_accepted=generated["on_figure_of_accepted"],
        on_rejected=f", and {rejected:.1%} in the others" if rejected is not None else "",
    )
    (folder / "README.md").write_text(text)
