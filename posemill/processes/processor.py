"""Which number format a processor is quick at, from what torch says of it."""

from collections.abc import Mapping


def computes_in_bfloat16(capabilities: Mapping[str, object]) -> bool:
    """Whether `torch.cpu.get_capabilities()` names instructions for bfloat16: AMX or AVX512-BF16."""
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
