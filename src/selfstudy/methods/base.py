"""The base class of all methods: views in, loss out, and two hooks around the optimizer step."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from selfstudy.errors import UsageError
from selfstudy.methods.reads import Images, Reads, from_old_flags
from selfstudy.ops.schedules import Progress
from selfstudy.optim.groups import ParameterGroup, parameter_groups
from selfstudy.views.spec import Spec, View, one_each


class MethodConfig(BaseModel):
    """The base class of every method's ``Config``: frozen, without unknown fields, validated when it is built."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StepOutput(NamedTuple):
    """The result of one forward pass of a method.

    Attributes:
        loss: the loss () float32, to call ``backward`` on.
        metrics: detached scalar tensors to log; their names are nouns (``accuracy``, ``teacher_entropy``).
        embedding: the encoder's output (B, D) for the first view, detached, so that monitors need no second forward
            pass. Under autocast it may be in half precision; the loop passes it on in float32.
    """

    loss: Tensor
    metrics: dict[str, Tensor]
    embedding: Tensor | None


class Setting(NamedTuple):
    """A value of a default recipe, and the reason for it."""

    value: Any
    reason: str


class DataFacts(NamedTuple):
    """The facts that a method's default recipe may depend on.

    Attributes:
        inputs: the number of inputs: images, rows of text, or others.
        size: the (height, width) of images in pixels; (1, T) for inputs of T tokens or samples.
        channels: the number of channels of an input; 1 for text.
        batch_size: the number of inputs per step.
        total_steps: the number of steps of the whole run; a guess if the budget is in minutes.
        width: the width D of a text encoder; 0 if the encoder is not known yet.
        trained: True if a text encoder starts from weights that were trained before.
        seconds: the time in which a solved method has to finish; None without a budget in minutes.
    """

    inputs: int
    size: tuple[int, int]
    channels: int
    batch_size: int
    total_steps: int
    width: int = 0
    trained: bool = False
    seconds: float | None = None

    @property
    def num_images(self) -> int:
        """The name of ``inputs`` in methods of earlier versions."""
        return self.inputs

    @property
    def image_size(self) -> tuple[int, int]:
        """The name of ``size`` in methods of earlier versions."""
        return self.size

    @property
    def short(self) -> bool:
        """True if the steps are too few for the settings of the papers, which train for a hundred thousand."""
        return self.total_steps < 10_000

    def square_root_rate(self, rate: float, at: int = 256) -> Setting:
        """A learning rate that grows with the square root of the batch size, as suits adaptive optimizers."""
        value = rate * (self.batch_size / at) ** 0.5
        return Setting(value, f"{rate:g} x sqrt(batch size {self.batch_size} / {at})")

    def text_rate(self, rate: float, at: int) -> Setting:
        """The square-root rule for an encoder 256 wide; a wider one takes less (Yang et al. 2022, arXiv:2203.03466)."""
        value = rate * (self.batch_size / at) ** 0.5 * 256 / self.width
        return Setting(value, f"{rate:g} x sqrt(batch size {self.batch_size} / {at}) x 256 / width {self.width}")

    def linear_rate(self, rate: float, at: int = 256) -> Setting:
        """A learning rate that grows with the batch size (Goyal et al. 2017, arXiv:1706.02677)."""
        return Setting(rate * self.batch_size / at, f"{rate:g} x batch size {self.batch_size} / {at} (linear rule)")

    def momentum(self, turnovers: float, at_most: float) -> Setting:
        """The momentum with which a teacher turns into its student ``turnovers`` times in the run."""
        value = round(min(at_most, max(0.9, 1 - turnovers / self.total_steps)), 5)
        return Setting(
            value, f"at first the teacher turns over about {turnovers:g} times in {self.total_steps:,} steps"
        )

    def if_short(self, **values: Any) -> dict[str, Setting]:
        """These settings for a short run; none for a long one, which has the method's defaults."""
        return {name: Setting(value, f"for {self.total_steps:,} steps") for name, value in values.items() if self.short}


class Recipe(NamedTuple):
    """Optimizer settings and method settings that suit the data, with the reasons for them.

    Attributes:
        optimizer: settings of :class:`selfstudy.config.OptimizerConfig` (``name``, ``lr``, ``weight_decay``, ...).
        method: settings of the method's own ``Config``.
        reasons: the reasons by dotted key, such as ``"optimizer.lr": "0.06 x 512 / 256"``.
    """

    optimizer: dict[str, Any]
    method: dict[str, Any]
    reasons: dict[str, str]

    @classmethod
    def of(
        cls,
        optimizer: str,
        rate: Setting,
        method: Mapping[str, Setting] | None = None,
        *,
        weight_decay: float = 1e-4,
        warmup: float = 0.05,
        clip: float = 0.0,
        beta2: float = 0.999,
    ) -> "Recipe":
        """The recipe with an optimizer and its learning rate, the method's settings, and the reasons for both."""
        own = method or {}
        return cls(
            {"name": optimizer, "lr": rate.value, "weight_decay": weight_decay, "warmup": warmup}
            | ({"clip": clip} if clip else {})
            | ({"beta2": beta2} if beta2 != 0.999 else {}),
            {name: setting.value for name, setting in own.items()},
            {"optimizer.lr": rate.reason, **{f"method.{name}": setting.reason for name, setting in own.items()}},
        )

    @classmethod
    def solved(cls, method: Mapping[str, Setting]) -> "Recipe":
        """The recipe of a method that takes no optimizer steps: its own settings, and the reasons for them."""
        values = {name: setting.value for name, setting in method.items()}
        return cls({}, values, {f"method.{name}": setting.reason for name, setting in method.items()})


class Method(nn.Module):
    """A pretext task around an encoder, usable in any PyTorch loop.

    A subclass names its paper in the docstring, has a frozen ``Config``, and defines ``default_views``, ``recipe``,
    ``chance_loss`` and ``forward``. Everything that must survive a restart is a registered submodule or a persistent
    buffer. No method inherits from another.

    Attributes:
        family: one of ``selfstudy.methods.FAMILIES``.
        reads: the data it learns from, such as ``Images(tokens=True)`` or ``Text(head="causal")``; images by default.

    Args:
        encoder: a network from images (B, C, H, W) to vectors (B, D), with D as its ``embed_dim``; for text a
            :class:`selfstudy.encoders.base.LanguageEncoder`.
        config: the method's settings; the defaults when left out.

    Raises:
        UsageError: the encoder has no ``embed_dim``, or it does not fit what the method reads.
    """

    Config: ClassVar[type[MethodConfig]]
    config: MethodConfig
    family: ClassVar[str]
    reads: ClassVar[Reads] = Images()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "reads" not in vars(cls):
            cls.reads = from_old_flags(vars(cls)) or cls.reads

    def __init__(self, encoder: nn.Module, config: MethodConfig | None = None) -> None:
        super().__init__()
        if not isinstance(getattr(encoder, "embed_dim", None), int):
            raise UsageError(
                f"{type(self).__name__} needs an encoder with an integer embed_dim, {type(encoder).__name__} has none\n"
                "it is the length D of the vectors (B, D) that the encoder gives; set encoder.embed_dim = D"
            )
        self.reads.check(encoder, type(self).__name__)
        self.encoder, self.embed_dim = encoder, int(encoder.embed_dim)  # type: ignore[arg-type]  # checked above
        self.config = config or self.Config()

    @staticmethod
    def default_views(size: tuple[int, int], channels: int = 3) -> Sequence[Spec]:
        """The paper's views, and the other inputs that the method needs for every image.

        Args:
            size: the (height, width) of the images in pixels. A method for text gets (1, T), with T the longest row in
                tokens, and asks for :class:`selfstudy.views.spec.Tokens`.
            channels: the number of channels of the images.
        """
        raise NotImplementedError

    @classmethod
    def equal_views(cls) -> int:
        """The number of views of one input, for data that are not images and have views of their own.

        A joint-embedding method compares views of the same kind and does not look inside them, so it can learn from
        views of anything that an encoder reads.

        Raises:
            UsageError: the method needs something else, such as tokens or labels.
        """
        size = (32, 32)  # methods that cut small crops from large images cut none from images this small
        specs = one_each(cls.default_views(size))
        needs = cls.reads.needs or ", ".join(sorted({type(spec).__name__.lower() for spec in specs} - {"view"}))
        if not needs and (len(specs) < 2 or {spec.size for spec in specs if isinstance(spec, View)} != {size}):
            needs = "images"
        if needs:
            raise UsageError(
                f"{cls.__name__} needs {needs}, and these data only have views\n"
                "use a method that compares views, such as simclr, byol or vicreg"
            )
        return len(specs)

    @staticmethod
    def recipe(facts: DataFacts) -> Recipe:
        """The default settings for a run.

        Args:
            facts: the number and size of the inputs, the batch size and the number of steps.
        """
        raise NotImplementedError

    def chance_loss(self, batch_size: int) -> tuple[float, str] | None:
        """The loss of a model that has learnt nothing, and its formula, such as ``(6.236, "ln(2B - 1)")``.

        None if the paper implies no such value.

        Args:
            batch_size: the number of inputs B of one loss: the micro-batch over all processes.
        """
        return None

    def uniform_entropy(self) -> float | None:
        """The entropy ln K of uniform targets, for a method that logs ``teacher_entropy``; None for any other.

        It may differ from ``chance_loss``, which may be unknown or include other terms. A method whose loss has other
        terms logs the term of these targets as ``image_loss``, which cannot fall below their entropy.
        """
        return None

    def forward(self, views: list[Tensor], progress: Progress) -> StepOutput:
        """The loss of one batch.

        Args:
            views: one tensor for each spec of ``default_views``, in that order, and ``count`` tensors for a view with a
                ``count``: views (B, C, h, w) float32, normalised; random numbers (B, count) float32 in [0, 1); labels
                (B,) int64; tokens (B, T) int64.
            progress: the progress of training.
        """
        raise NotImplementedError

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the encoder and its copies in a teacher.

        Args:
            *args: positional arguments of ``torch.compile``.
            **kwargs: keyword arguments of ``torch.compile``.
        """
        for module in self.modules():
            if isinstance(module, type(self.encoder)):
                module.compile(*args, **kwargs)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The trainable parameters in groups that are trained in the same way.

        By default weights are one group, and everything else is another, without weight decay. The settings of the
        optimizer, such as ``layer_decay``, apply on top.
        """
        return parameter_groups(self)

    def before_step(self, progress: Progress) -> None:
        """Do what must happen after the last gradient and before the optimizer's step; nothing by default.

        Args:
            progress: the progress of training before this step.
        """
        return None

    def after_step(self, progress: Progress) -> None:
        """Do what must happen after each optimizer step, such as moving a teacher; nothing by default.

        Args:
            progress: the progress of training before this step.
        """
        return None

    def representation(self) -> tuple[str, nn.Module]:
        """The name and the encoder that users take away: ``("student", encoder)``, or a teacher that is better."""
        return "student", self.encoder

    def prototype_scores(self, embedding: Tensor) -> Tensor | None:
        """The fit (B, K) of each of K prototypes to embeddings; None for methods without prototypes.

        Args:
            embedding: embeddings (B, D) of the ``representation``.
        """
        return None

    def filters(self) -> dict[str, Tensor]:
        """The filters (K, C, h, w) that look at pixels, by name, for a picture of them; none by default."""
        return {}

    def pictures(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Pictures of the task by name, such as ``masked`` and ``reconstruction``; none by default.

        Args:
            views: the inputs of :meth:`forward`.

        Returns:
            Tensors (B, C, H, W), normalised like the first view.
        """
        return {}
