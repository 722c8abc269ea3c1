"""One file a family of checks. Each has a class `Check`, as `workers.judging.check.Check` describes it."""
