"""The names that tensors of a checkpoint had in earlier versions, so that old runs load and resume.

An optimizer's state needs no table: torch numbers it by the order of the parameters, which has not changed.
"""

from collections.abc import Collection, Mapping

from torch import Tensor

# The beginning of an old name and of the new one. A rule holds where the new name is one that the method has.
OLD_KEYS = [
    # Up to 0.1 a teacher was a sequence of an encoder and heads, or an encoder alone.
    ("teacher.module.0.", "teacher.module.encoder."),
    ("teacher.module.1.", "teacher.module.head."),
    ("teacher.module.1.", "teacher.module.head.0."),
    ("teacher.module.2.", "teacher.module.head.1."),
    ("teacher.module.", "teacher.module.encoder."),
]


def with_new_keys(tensors: Mapping[str, Tensor], known: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors under the names that they have today.

    Args:
        tensors: the state dict in a checkpoint.
        known: the names in the method's own state dict.

    Returns:
        The same tensors. A name without a rule stays as it is, for ``load_state_dict`` to refuse.
    """
    return {name if name in known else _new_name(name, known): tensor for name, tensor in tensors.items()}


def _new_name(name: str, known: Collection[str]) -> str:
    """Return the first known name that a rule gives for an old one, or the name itself."""
    candidates = (new + name.removeprefix(old) for old, new in OLD_KEYS if name.startswith(old))
    return next((candidate for candidate in candidates if candidate in known), name)
