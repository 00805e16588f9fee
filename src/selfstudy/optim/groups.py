"""Parameter groups: parameters that are trained in the same way, as values that methods and settings may change."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from selfstudy.optim.settings import OptimizerSettings


class ParameterGroup(NamedTuple):
    """Parameters that are trained in the same way.

    Attributes:
        parameters: the parameters, in the order of ``named_parameters()``.
        decays: True if weight decay applies to them, and the layer-wise adaptation of LARS.
        rate: the factor of their learning rate.
        constant: True if their learning rate stays at its peak.
    """

    parameters: list[nn.Parameter]
    decays: bool = True
    rate: float = 1.0
    constant: bool = False


def parameter_groups(module: nn.Module) -> list[ParameterGroup]:
    """Return the trainable parameters of a module in two groups, weights first; an empty group is left out.

    Biases, the scales of norms and every other vector do not decay: they are few, and their size is their meaning.
    The authors' code of SimCLR, BYOL, DINO and MAE does the same. That of MoCo, SimSiam, SwAV and SupCon lets all
    parameters decay (``optimizer.decay_biases``). Class tokens and learnt positions decay, as in DINO's code.
    """
    # A norm over several axes has a scale with several axes, so its shape does not tell.
    norms = {id(p) for m in module.modules() if isinstance(m, nn.LayerNorm | nn.RMSNorm) for p in m.parameters()}
    weights, others = ParameterGroup([]), ParameterGroup([], decays=False)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim < 2 or id(parameter) in norms or name.rpartition(".")[2] == "bias"
            (others if plain else weights).parameters.append(parameter)
    return [group for group in (weights, others) if group.parameters]


def set_apart(
    groups: Iterable[ParameterGroup], parameters: Iterable[nn.Parameter], **changes: Any
) -> list[ParameterGroup]:
    """Return the groups with some parameters moved into groups of their own, at the end.

    Args:
        groups: the groups to take the parameters out of.
        parameters: the parameters to move.
        changes: the fields in which their new groups differ from their old ones, such as ``constant=True``.
    """
    chosen = {id(parameter) for parameter in parameters}
    stay, move = [], []
    for group in groups:
        kept = [parameter for parameter in group.parameters if id(parameter) not in chosen]
        moved = [parameter for parameter in group.parameters if id(parameter) in chosen]
        stay.append(group._replace(parameters=kept))
        move.append(group._replace(parameters=moved, **changes))
    return [group for group in stay + move if group.parameters]


def arranged(
    groups: Iterable[ParameterGroup], settings: OptimizerSettings, layer_rates: Mapping[nn.Parameter, float]
) -> list[ParameterGroup]:
    """Return a method's groups as the settings of the optimizer want them.

    Args:
        groups: the groups of the method.
        settings: ``bias_lr`` and ``decay_biases`` apply to the groups without weight decay.
        layer_rates: the factor of the learning rate of each parameter that differs from 1; groups are split by it.
    """
    changed = [
        group if group.decays else group._replace(decays=settings.decay_biases, rate=group.rate * settings.bias_lr)
        for group in groups
    ]
    return [part for group in changed for part in _by_rate(group, layer_rates)]


def _by_rate(group: ParameterGroup, rates: Mapping[nn.Parameter, float]) -> Sequence[ParameterGroup]:
    """Return the parts of a group whose parameters share a factor, in the order in which the factors appear."""
    parts: dict[float, list[nn.Parameter]] = {}
    for parameter in group.parameters:
        parts.setdefault(rates.get(parameter, 1.0), []).append(parameter)
    return [group._replace(parameters=part, rate=group.rate * rate) for rate, part in parts.items()]
