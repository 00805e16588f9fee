"""Data sets by name: bundled samples, those of torchvision, and those of the Hugging Face hub."""

from typing import Any

import numpy as np

from selfstudy.errors import DataError, EnvironmentFault, UsageError, did_you_mean, first_line
from selfstudy.images.arrays import DatasetImages
from selfstudy.images.samples import open_sample
from selfstudy.images.sources import Format, Source

_TORCHVISION_ROOT = "data"


def _open_torchvision(name: str, *, labels: bool, split: str | None) -> Source:
    """The images of ``torchvision:NAME`` in ``./data``, where torchvision has put them; nothing is downloaded."""
    import torchvision.datasets as datasets

    if name not in datasets.__all__:
        raise UsageError(f"unknown torchvision data set {name!r}{did_you_mean(name, datasets.__all__)}")
    train = split != "test"
    for arguments in ({"train": train}, {"split": "train" if train else "test"}):
        try:
            return DatasetImages(getattr(datasets, name)(_TORCHVISION_ROOT, download=False, **arguments), labels=labels)
        except TypeError:
            continue
        except (RuntimeError, OSError):
            raise UsageError(
                f'torchvision:{name} is not in ./{_TORCHVISION_ROOT}\nfetch it once: python -c "import torchvision; '
                f"torchvision.datasets.{name}('{_TORCHVISION_ROOT}', download=True)\""
            ) from None
    raise UsageError(f"torchvision:{name} has neither a train nor a split argument and cannot be opened by name")


class _HubTable:
    """The images of a hub data set by number."""

    def __init__(self, table: Any, image: str) -> None:
        self._table, self._image = table, image

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Any:
        return self._table[int(index)][self._image]


def _open_hub(name: str, *, labels: bool, split: str | None) -> Source:
    """The images of ``hub:NAME``, which the ``datasets`` package downloads or reads from its cache."""
    try:
        import datasets
    except ImportError:
        raise EnvironmentFault("hub: needs the datasets package\npip install 'selfstudy[data]'") from None
    try:
        table = datasets.load_dataset(name, split=split or "train")
    except Exception as error:  # the package raises many kinds of errors for a missing name, split or connection
        raise UsageError(f"hub:{name} cannot be opened: {first_line(error)[:200]}") from None
    image = next((key for key, kind in table.features.items() if isinstance(kind, datasets.Image)), None)
    label = next((key for key, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)), None)
    if image is None:
        raise UsageError(f"hub:{name} has no image column; its columns are {', '.join(table.features)}")
    source = DatasetImages(_HubTable(table, image), labels=False)
    if labels:
        if label is None:
            raise DataError(
                f"hub:{name} has no label column; its columns are {', '.join(table.features)}\n"
                "labels are needed to evaluate"
            )
        source.class_names = list(table.features[label].names)
        source.labels = np.asarray(table[label][:], dtype=np.int64)  # only this column: no image is decoded
    return source


FORMATS = (
    Format(open_sample, prefix="sample"),
    Format(_open_torchvision, prefix="torchvision"),
    Format(_open_hub, prefix="hub"),
)
