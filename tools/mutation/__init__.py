"""Mutation testing of the core: breaks the code in small, plausible ways, one at a time, and sees which tests notice.

mutmut 3.8 was looked at: it breaks Python alone, and a pytest session of its own for each mutant would start the tests'
Redis and S3 server every time, which is most of what a mutant costs here. This one starts them once and forks, and
breaks Lua too.
"""
