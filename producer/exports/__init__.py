"""A finished run taken out of storage as a data set: samples in the plan's order, shard by shard, with proof."""
