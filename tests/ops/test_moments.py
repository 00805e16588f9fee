"""Mean and covariance over batches, against numpy on all rows."""

import numpy as np
import torch

from selfstudy.ops.moments import Moments


def test_batches_of_any_size_give_the_mean_and_covariance_of_all_rows():
    rows = 1000 + torch.randn(57, 5, generator=torch.Generator().manual_seed(0))  # far from zero: digits would be lost
    moments = Moments()
    for batch in torch.split(rows, [20, 30, 1, 6]):
        moments.add(batch)
    assert moments.count == 57
    np.testing.assert_allclose(moments.mean, rows.mean(dim=0), rtol=1e-6)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.double().T.numpy(), bias=True), atol=1e-4)


def test_a_batch_is_not_changed():
    rows = torch.ones(3, 2)
    Moments().add(rows)
    assert rows.equal(torch.ones(3, 2))
