"""How large a picture becomes."""

from posemill.contract.specs import GenerateSpec

MULTIPLE = 8  # of pixels, which every latent diffusion model needs
SCALED_MULTIPLE = 16  # for pictures smaller than their control image: two levels of latents stay whole


def picture_size(control: tuple[int, int], spec: GenerateSpec) -> tuple[int, int]:
    """Width and height of the picture for a control image of that size.

    As the recipe says; or scaled so that the short side is the model's resolution; or as the control image.
    """
    if spec.width and spec.height:
        return spec.width, spec.height
    if spec.resolution is None:
        return _down(control[0]), _down(control[1])
    scale = spec.resolution / min(control)
    return _near(control[0] * scale), _near(control[1] * scale)


def _down(pixels: int) -> int:
    return max(MULTIPLE, pixels // MULTIPLE * MULTIPLE)


def _near(pixels: float) -> int:
    return max(SCALED_MULTIPLE, round(pixels / SCALED_MULTIPLE) * SCALED_MULTIPLE)
