import pytest
import torch
from sklearn.linear_model import LogisticRegression

from selfstudy.probes import regression
from selfstudy.probes.regression import few_examples_regression, logistic_regression
from tests.probes.test_linear import problem


def standardised(features):
    x = (features - features.mean(0)) / features.std(0, correction=0)
    return torch.cat([x, torch.ones(len(x), 1)], dim=1)


def fit(x, labels, l2, classes):
    covariance = x.T @ x / len(x)
    return logistic_regression(x, labels, l2, start=torch.zeros(x.shape[1], classes), covariance=covariance)


@pytest.mark.parametrize("l2", [0.1, 10.0, 1000.0])
def test_weights_equal_those_of_scikit_learn_for_the_same_l2(l2):
    features, labels = problem(600)
    x = standardised(features)
    weights = fit(x, labels, l2, 4)
    reference = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=5000).fit(x[:, :-1].double().numpy(), labels.numpy())
    torch.testing.assert_close(weights[:-1].double().T, torch.from_numpy(reference.coef_), atol=3e-3, rtol=0)
    ours, theirs = (x @ weights).softmax(1), torch.from_numpy(reference.predict_proba(x[:, :-1].double().numpy()))
    torch.testing.assert_close(ours.double(), theirs, atol=2e-3, rtol=0)


def test_the_solution_does_not_depend_on_the_preconditioner_or_the_start():
    features, labels = problem(400)
    x = standardised(features)
    plain = logistic_regression(x, labels, 10.0, start=torch.randn(21, 4), covariance=torch.eye(21))
    torch.testing.assert_close(plain[:-1], fit(x, labels, 10.0, 4)[:-1], atol=3e-3, rtol=0)


@pytest.mark.parametrize("l2", [0.5, 20.0])
def test_few_examples_have_the_same_solution_in_fewer_dimensions(l2):
    features, labels = problem(15)
    x = torch.cat([standardised(features)[:, :-1], torch.ones(15, 1)], dim=1)
    x[3] = x[4]  # fewer directions than rows
    weights = few_examples_regression(x, labels, l2, 4)
    assert weights.shape == (21, 4)
    torch.testing.assert_close(weights, fit(x, labels, l2, 4), atol=3e-3, rtol=0)


def test_the_gradient_is_that_of_autograd():
    features, labels = problem(50)
    x, weights = standardised(features), torch.randn(21, 4, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(x @ weights, labels)
    expected.backward()
    loss, gradient = regression._mean_cross_entropy(x, labels, weights.detach())
    torch.testing.assert_close(gradient, weights.grad)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
