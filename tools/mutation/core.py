"""The core by its areas, and the fast tests that hold each part of it."""

U, I = "tests/unit", "tests/integration"  # noqa: E741

LEDGER = (f"{I}/test_ledger_books.py", f"{I}/test_ledger.py", f"{I}/test_deaths.py", f"{I}/test_rebuild.py")
WINDOW = (f"{U}/queue", f"{I}/test_dispatcher.py")
REBUILD = (f"{I}/test_rebuild.py", f"{I}/test_dispatcher.py")
LUA_TESTS = (f"{I}/test_ledger_books.py", f"{I}/test_ledger.py", f"{I}/test_deaths.py", f"{I}/test_stage_worker.py")
BATCHES = (f"{U}/batches", f"{I}/test_stage_worker.py", f"{I}/test_row_process.py", f"{I}/test_worker_process.py")
PLANNING = (f"{U}/submitting", f"{I}/test_submission.py")
RECIPES = (f"{U}/recipes", f"{U}/submitting/test_rehearsal.py", f"{U}/catalogue/test_pairing.py")
EXPORTS = (f"{U}/exports",)
ENDINGS = (f"{U}/cli/test_endings.py", f"{U}/cli/test_command_line.py")
HANDLES = (f"{I}/test_handle.py", f"{I}/test_submission.py")

AREAS: dict[str, dict[str, tuple[str, ...]]] = {
    "ledger and scripts": {
        **{f"posemill/queue/lua/{name}.lua": LUA_TESTS for name in (
            "claim", "commit", "complete", "death", "expire", "pause", "release", "renew", "row_death")},
        **{f"posemill/queue/{name}.py": LEDGER for name in ("ledger", "progress", "death_reports")},
    },
    "window and dispatcher": {f"posemill/queue/{name}.py": WINDOW for name in ("window", "dispatcher")},
    "rebuild and states": {f"posemill/queue/{name}.py": REBUILD for name in ("rebuild", "run_states")},
    "stage anatomy": {f"workers/batches/{name}.py": BATCHES for name in (
        "anatomy", "attempts", "leases", "pending_calls", "plan_reader", "single_rows", "watchdog", "heartbeat",
        "batch_work")},
    "planning": {
        **{f"producer/submitting/{name}.py": PLANNING for name in ("planning", "submission", "recent", "streaming")},
        "posemill/contract/identity.py": (f"{U}/contract", f"{U}/submitting"),
        "posemill/contract/records.py": (f"{U}/contract", *REBUILD),
    },
    "recipes": {f"producer/recipes/{name}.py": RECIPES for name in (
        "recipe", "recipe_checks", "resolving", "prompts", "control_recipe", "yaml_values", "revisions")},
    "export rules": {f"producer/exports/samples/{name}.py": EXPORTS for name in (
        "columns", "filters", "splits", "published", "keypoints", "pictures", "reading", "controls")},
    "exit statuses": {
        "posemill/exit_codes.py": ENDINGS,
        "producer/cli/endings.py": ENDINGS,
        "producer/runs/handle.py": HANDLES,
        "producer/runs/checking.py": HANDLES,
    },
}  # fmt: skip
CORE = {file: tests for files in AREAS.values() for file, tests in files.items()}
