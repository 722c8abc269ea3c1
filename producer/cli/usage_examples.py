"""One or two examples for the end of each command's `--help`: they are parsed by a test, so they can be typed."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "init": ("posemill init", "posemill init chefs.yaml --sources s3://photos/inbox/"),
    "recipe": ("posemill recipe schema > recipe.schema.json",),
    "logs": ("posemill logs", "posemill logs generate-0 --follow"),
    "demo": ("posemill demo", "posemill demo examples/controls.yaml --out controls-output"),
    "up": ("posemill up", "posemill up --detect 4"),
    "worker": ("posemill worker detect --concurrency 8", "posemill worker generate --queue posemill.large"),
    "doctor": ("posemill doctor", "posemill doctor --json"),
    "health": ("posemill health generate --limit-seconds 1800",),
    "models": ("posemill models", "posemill models pull chefs.yaml"),
    "submit": (
        "posemill submit chefs.yaml --dry-run",
        "posemill submit chefs.yaml --run-id chefs-1 --wait --timeout 3600",
        "posemill submit chefs.yaml --set generate.steps=30 --set seeds=8",
    ),
    "preview": ("posemill preview chefs.yaml -n 4 --out look",),
    "verify": (
        "posemill verify chefs-1 --wait",
        "posemill verify chefs-1 --check 'pose min_oks=0.7' --check sharpness --retry --tries 3",
    ),
    "resume": ("posemill resume chefs-1 --wait",),
    "retry": ("posemill retry chefs-1 --wait",),
    "cancel": ("posemill cancel chefs-1",),
    "pause": ("posemill pause chefs-1",),
    "unpause": ("posemill unpause chefs-1",),
    "status": ("posemill status chefs-1 --watch", "posemill status chefs-1 --json"),
    "runs": ("posemill runs --state complete --since 30d",),
    "failures": ("posemill failures chefs-1",),
    "check": ("posemill check chefs-1 --deep", "posemill check chefs-1 --export dataset/"),
    "export": (
        "posemill export chefs-1 dataset/ --format parquet --validation 0.05",
        "posemill export chefs-1 s3://sets/chefs/ --format webdataset --where 'people == 1'",
    ),
    "delete": ("posemill delete chefs-1",),
    "prune": ("posemill prune --dry-run", "posemill prune --older-than 90d --keep-last 10"),
    "forget": ("posemill forget photos/anna.jpg --dry-run",),
    "open": ("posemill open chefs-1", "posemill open chefs-1 --out look --no-browser"),
    "adopt-store": ("posemill adopt-store",),
}


def epilog(command: str) -> str:
    """What stands below a command's options."""
    return "\b\nExamples:\n" + "\n".join(f"  {example}" for example in EXAMPLES[command])
