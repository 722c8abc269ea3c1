"""The core, and the fast tests that hold each part of it."""

U, I = "tests/unit", "tests/integration"  # noqa: E741

QUEUE = (
    f"{U}/queue",
    f"{I}/test_ledger.py",
    f"{I}/test_ledger_books.py",
    f"{I}/test_dispatcher.py",
    f"{I}/test_deaths.py",
    f"{I}/test_retry.py",
)
LUA_TESTS = (f"{I}/test_ledger_books.py", f"{I}/test_ledger.py", f"{I}/test_deaths.py", f"{I}/test_stage_worker.py")
BATCHES = (f"{U}/batches", f"{I}/test_stage_worker.py", f"{I}/test_row_process.py", f"{I}/test_worker_process.py")
PLANNING = (f"{U}/submitting", f"{I}/test_submission.py")
RECIPES = (f"{U}/recipes", f"{U}/submitting/test_rehearsal.py")
EXPORTS = (f"{U}/exports",)
ENDINGS = (f"{U}/cli/test_command_line.py", f"{I}/test_retry.py", f"{I}/test_quick_reads.py")

CORE: dict[str, tuple[str, ...]] = {
    **{f"posemill/queue/lua/{name}.lua": LUA_TESTS for name in (
        "claim", "commit", "complete", "death", "expire", "pause", "release", "renew", "row_death")},
    **{f"posemill/queue/{name}.py": QUEUE for name in (
        "ledger", "window", "dispatcher", "rebuild", "run_states", "death_reports", "progress")},
    **{f"workers/batches/{name}.py": BATCHES for name in (
        "anatomy", "attempts", "leases", "pending_calls", "plan_reader", "single_rows", "watchdog", "heartbeat")},
    **{f"producer/submitting/{name}.py": PLANNING for name in ("planning", "submission", "recent", "streaming")},
    **{f"producer/recipes/{name}.py": RECIPES for name in (
        "recipe", "recipe_checks", "resolving", "prompts", "control_recipe", "yaml_values", "revisions")},
    **{f"producer/exports/samples/{name}.py": EXPORTS for name in (
        "columns", "filters", "splits", "published", "keypoints", "pictures", "reading", "controls")},
    "posemill/contract/records.py": (f"{U}/contract", *QUEUE),
    "posemill/contract/identity.py": (f"{U}/contract", f"{U}/submitting"),
    "posemill/exit_codes.py": ENDINGS,
    "producer/cli/endings.py": ENDINGS,
    "producer/runs/handle.py": (f"{I}/test_retry.py", f"{I}/test_submission.py", f"{I}/test_quick_reads.py"),
    "producer/runs/checking.py": (f"{I}/test_retry.py", f"{I}/test_submission.py", f"{I}/test_quick_reads.py"),
}  # fmt: skip
