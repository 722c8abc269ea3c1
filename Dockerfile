# syntax=docker/dockerfile:1
# Three images from one file: `docker build --target producer | worker-cpu | worker-cuda .`
# Dependencies come first and the code last, so that a change of code installs no library again. The code is mounted
# while it is installed and not copied: an image holds it once, as the package; the workers' images also hold the weights.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/models
# /models is the cache of the Hugging Face Hub: a volume mounted there takes over its owner.
RUN useradd --create-home --uid 1000 posemill && install --directory --owner=posemill --group=posemill /models
WORKDIR /build
COPY constraints.txt pyproject.toml ./
# What pyproject.toml asks for, in files of one requirement a line: pip has no option for "all but the project".
RUN python <<'PYTHON'
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
workers, export, dwpose = (project["optional-dependencies"][extra] for extra in ("workers", "export", "dwpose"))
torch = [wanted for wanted in workers if wanted.startswith("torch")]
wanted_by = {
    "producer": project["dependencies"] + project["optional-dependencies"]["hub"], "export": export, "workers": workers, "torch": torch, "dwpose": dwpose,
}
for name, wanted in wanted_by.items():
    Path(f"{name}.txt").write_text("".join(f"{line}\n" for line in wanted))
PYTHON
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt -r producer.txt


# Submits, watches, checks and exports. No torch.
FROM base AS producer
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt -r export.txt
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=bind,target=/src,rw \
    pip install --no-deps /src && pip check
USER posemill
WORKDIR /home/posemill
ENTRYPOINT ["posemill"]
CMD ["--help"]


# Detects. PyTorch's own index has wheels without CUDA, a tenth of the size; any index with such wheels will do.
# rtmlib comes after the check, which it would not pass: it asks for two more builds of OpenCV.
FROM base AS worker-cpu
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --index-url "${TORCH_INDEX_URL}" -c constraints.txt -r torch.txt \
    && pip install -c constraints.txt -r workers.txt -r dwpose.txt
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=bind,target=/src,rw \
    pip install --no-deps /src /src/workers/weights && pip check && pip install --no-deps -c constraints.txt rtmlib
USER posemill
WORKDIR /home/posemill
VOLUME /models
ENTRYPOINT ["posemill"]
CMD ["worker", "detect"]


# Generates. PyPI's torch for Linux brings the CUDA libraries along; the host brings the driver.
FROM base AS worker-cuda
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt -r workers.txt
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=bind,target=/src,rw \
    pip install --no-deps /src /src/workers/weights && pip check
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER posemill
WORKDIR /home/posemill
VOLUME /models
ENTRYPOINT ["posemill"]
CMD ["worker", "generate"]
