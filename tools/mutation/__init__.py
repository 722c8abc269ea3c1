"""Mutation testing of the core: breaks the code in small, plausible ways, one at a time, and sees which tests notice.

mutmut and cosmic-ray were looked at: neither breaks Lua, and both start the tests' servers again for every mutant,
which is most of what a mutant costs here. This one starts them once and forks.
"""
