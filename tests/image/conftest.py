"""What the tests of image operations share."""

import pytest
import torch


@pytest.fixture
def assert_slopes():
    """Asserts that the gradient of `op` in each of its arguments is that of central differences along a random one."""

    def check(op, *arguments, rtol=1e-5, step=1e-6):
        probe, *directions = torch.randn_like(arguments[0]), *(torch.randn_like(a) for a in arguments)

        def loss(*shifts):
            return (op(*(a + s * d for a, s, d in zip(arguments, shifts, directions, strict=True))) * probe).sum()

        at = torch.zeros(len(arguments), dtype=probe.dtype, requires_grad=True)
        (slopes,) = torch.autograd.grad(loss(*at), at)
        with torch.no_grad():
            ends = step * torch.eye(len(arguments), dtype=probe.dtype)
            differences = torch.stack([loss(*end) - loss(*-end) for end in ends]) / (2 * step)
        torch.testing.assert_close(slopes, differences, rtol=rtol, atol=0)

    return check
