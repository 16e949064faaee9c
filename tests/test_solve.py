import pytest
import torch

from tavtorch import Solution, Stop, conjugate_gradient, implicit, iterate, solve


def halve(k, x):
    return (x / 2,)


def size(x):
    return x.abs()


# truth


def test_each_item_stops_by_itself():
    found = iterate(halve, (torch.tensor([1.0, 8.0, 0.1]),), size, Stop(tol=0.5, every=1))
    assert found.value[0].tolist() == pytest.approx([0.5, 0.5, 0.1])
    assert found.iterations.tolist() == [1, 4, 0]
    assert found.converged.all()
    assert found.gap.tolist() == pytest.approx([0.5, 0.5, 0.1])


def test_running_out_of_steps_is_a_field():
    found = iterate(halve, (torch.tensor([1.0, 1024.0]),), size, Stop(tol=0.5, max_iter=7, every=3))
    assert isinstance(found, Solution)
    assert found.iterations.tolist() == [3, 7]
    assert found.converged.tolist() == [True, False]
    assert found.gap.tolist() == [0.125, 8.0]


def test_nothing_to_do():
    start = torch.tensor([1.0])
    assert iterate(halve, (start,), size, Stop(max_iter=0)).value[0] is start


def test_steps_are_counted():
    found = iterate(lambda k, x: (10 * x + k,), (torch.ones(1),), size, Stop(tol=0.0, max_iter=5, every=2))
    assert found.value[0].item() == 101234


def test_nan_never_counts_as_done():
    found = iterate(lambda k, x: (x * torch.nan,), (torch.ones(2),), size, Stop(max_iter=20))
    assert not found.converged.any()
    assert found.iterations.tolist() == [20, 20]


# batch


def test_alone_is_together():
    start = torch.tensor([3.0, 700.0, 0.2])
    stop = Stop(tol=1e-2, every=4)
    together = iterate(halve, (start,), size, stop)
    for i in range(3):
        alone = iterate(halve, (start[i : i + 1],), size, stop)
        assert alone.value[0].item() == together.value[0][i].item()
        assert alone.iterations.item() == together.iterations[i].item()


def test_inputs_are_not_edited():
    start = torch.tensor([3.0])
    iterate(halve, (start,), size)
    assert start.item() == 3


# gradient


def contraction(weight, bias):
    return lambda u: torch.tanh(u @ weight + bias)


def settled(weight, bias):
    u = torch.zeros_like(bias)
    return iterate(lambda k, u: (contraction(weight, bias)(u),), (u,), lambda u: u.new_ones(len(u)), Stop(max_iter=200))


def problem():
    weight = 0.2 * torch.randn(4, 4, dtype=torch.float64)
    bias = torch.randn(3, 4, dtype=torch.float64)
    return weight.requires_grad_(), bias.requires_grad_()


def test_implicit_gradient_is_that_of_finite_differences():
    def root(weight, bias):
        with torch.no_grad():
            u = settled(weight, bias).value[0]
        return implicit(contraction(weight, bias), u, stop=Stop(tol=1e-13))

    assert torch.autograd.gradcheck(root, problem(), check_forward_ad=True)


def test_implicit_gradient_is_that_of_the_unrolled_loop():
    weight, bias = problem()
    unrolled = torch.autograd.grad(settled(weight, bias).value[0].square().sum(), (weight, bias))
    with torch.no_grad():
        u = settled(weight, bias).value[0]
    found = implicit(contraction(weight, bias), u, stop=Stop(tol=1e-13))
    for one, other in zip(torch.autograd.grad(found.square().sum(), (weight, bias)), unrolled, strict=True):
        torch.testing.assert_close(one, other)


def test_implicit_keeps_the_value():
    weight, bias = problem()
    u = torch.randn(3, 4, dtype=torch.float64)
    assert torch.equal(implicit(contraction(weight, bias), u), u)


def test_implicit_without_anything_to_differentiate():
    weight, bias = (tensor.detach() for tensor in problem())
    u = torch.randn(3, 4, dtype=torch.float64)
    assert not implicit(contraction(weight, bias), u).requires_grad
    with torch.no_grad():
        assert not implicit(contraction(*problem()), u).requires_grad


@pytest.mark.parametrize("slope", [0.9999, -1.5, 2.0])
def test_an_adjoint_that_does_not_converge_is_told_and_nan(slope, caplog):
    a, slopes = torch.ones(2, requires_grad=True), torch.tensor([slope, 0.5])
    implicit(lambda u: slopes * u + a, torch.zeros(2)).sum().backward()
    assert a.grad[0].isnan() and a.grad[1].item() == pytest.approx(2)
    assert "does not converge" in caplog.text and "lower its tolerance" in caplog.text
    a.grad = None
    implicit(lambda u: slopes * u + a, torch.zeros(2), stop=Stop(1e-6, 3), worst=float("inf")).sum().backward()
    assert a.grad[0].item() == pytest.approx(1 + slope + slope**2 + slope**3)  # what three steps give


def test_a_certificate_counts_where_the_gap_says_done():
    asked = []
    found = iterate(
        halve, (torch.tensor([1.0, 8.0]),), size, Stop(0.5, every=1), certify=lambda x: asked.append(0) or 2 * x
    )
    assert found.value[0].tolist() == [0.25, 0.25] and found.gap.tolist() == [0.5, 0.5] and found.converged.all()
    assert len(asked) == 4  # where an item looks done, and no other time


# errors


@pytest.mark.parametrize("wrong", [{"tol": -1.0}, {"tol": float("nan")}, {"max_iter": -1}, {"every": 0}])
def test_stop_names_what_is_wrong(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Stop(**wrong)


# a linear system


def systems(n=6, count=3):
    """Symmetric, positive definite matrices and right-hand sides."""
    half = torch.randn(count, n, n, dtype=torch.float64)
    return half @ half.mT + torch.eye(n), torch.randn(count, n, dtype=torch.float64)


def solved(a, b, **options):
    stop = Stop(tol=1e-12, every=1, max_iter=50)
    return conjugate_gradient(lambda u: (a @ u[..., None])[..., 0], b, stop=stop, **options)


def test_conjugate_gradient_solves_in_as_many_steps_as_unknowns():
    a, b = systems()
    found = solved(a, b)
    assert torch.allclose(found.value, torch.linalg.solve(a, b))
    assert found.iterations.max() <= 7 and found.converged.all()
    assert torch.allclose(found.gap, (b - (a @ found.value[..., None])[..., 0]).norm(dim=1) / b.norm(dim=1), atol=1e-12)


def test_conjugate_gradient_takes_a_preconditioner_and_a_start():
    a, b = systems()
    assert solved(a, b, precondition=lambda r: torch.linalg.solve(a, r)).iterations.max() <= 2
    assert solved(a, b, start=torch.linalg.solve(a, b)).iterations.max() == 0


def test_conjugate_gradient_alone_is_together_and_nothing_is_asked_of_zero():
    a, b = systems()
    b[1] = 0
    together = solved(a, b)
    assert together.value[1].eq(0).all() and together.iterations[1] == 0
    for i in range(3):
        assert torch.equal(solved(a[i : i + 1], b[i : i + 1]).value[0], together.value[i])


def test_the_gap_of_conjugate_gradient_is_the_true_residual():
    """In float32 the residual of the recursion goes on falling where rounding has stopped the true one."""
    a = torch.diag(torch.logspace(0, 6, 40))[None]
    b = torch.ones(1, 40)
    found = conjugate_gradient(lambda u: (a @ u[..., None])[..., 0], b, stop=Stop(tol=1e-8, every=1, max_iter=400))
    residual = (b.double() - (a.double() @ found.value.double()[..., None])[..., 0]).norm() / b.norm()
    assert found.gap.item() == pytest.approx(residual.item(), rel=0.5)
    assert found.converged.item() == (found.gap.item() <= 1e-8)


def test_conjugate_gradient_breaks_down_at_once():
    """A preconditioner that is not positive, and an operator that is not: no steps for nothing, no NaN."""
    b = torch.ones(1, 2)
    for operator, precondition in ((lambda u: u, torch.neg), (torch.neg, None), (lambda u: u * torch.inf, None)):
        found = conjugate_gradient(operator, b, precondition=precondition, stop=Stop(1e-6, 500, 1))
        assert found.value.isfinite().all() and not found.converged and found.iterations < 10


def test_conjugate_gradient_is_linear_in_b_to_any_order():
    a, b = systems(4, 2)
    assert torch.autograd.gradgradcheck(lambda b: solved(a, b).value.square(), (b.requires_grad_(),))
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.gradgradcheck(lambda a: solved((a + a.mT) / 2, b).value.square(), (a.requires_grad_(),))


def test_conjugate_gradient_has_the_gradient_of_the_solution():
    a, b = (t.requires_grad_() for t in systems(4, 2))
    assert torch.autograd.gradcheck(lambda a, b: solved((a + a.mT) / 2, b).value, (a, b), check_forward_ad=True)


# compilation


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(solve, "COMPILE_AFTER", 0)


@pytest.mark.usefixtures("at_once")
def test_compiled_gives_the_same_and_leaves_gradients_to_the_eager_function():
    wave = solve.compiled(lambda x, scale: torch.sin(x) * scale + x)
    x = torch.randn(7, 5)
    torch.testing.assert_close(wave(x, torch.tensor(2.0)), 2 * torch.sin(x) + x)
    x.requires_grad_()
    assert torch.autograd.gradgradcheck(wave, (x.double(), torch.tensor(2.0, dtype=torch.float64)))


def test_compiled_waits_until_it_pays(monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda f: lambda x: calls.append("fast") or f(x))
    double = solve.compiled(lambda x: 2 * x)
    monkeypatch.setattr(solve, "COMPILE_AFTER", 20)
    for _ in range(5):
        assert double(torch.ones(8))[0] == 2
    assert calls == ["fast"] * 3


@pytest.mark.usefixtures("at_once")
def test_without_a_compiler_the_function_runs_eagerly_and_says_so_once(monkeypatch, caplog):
    def broken(x):
        raise RuntimeError("no C++ compiler\nlong story")

    monkeypatch.setattr(torch, "compile", lambda f: broken)
    with caplog.at_level("INFO", "tavtorch"):
        double = solve.compiled(lambda x: 2 * x)
        assert double(torch.ones(3)).tolist() == double(torch.ones(3)).tolist() == [2, 2, 2]
    (record,) = caplog.records
    assert record.message == "<lambda> runs eagerly: torch.compile failed (no C++ compiler)."


@pytest.mark.usefixtures("at_once")
def test_where_memory_runs_out_is_no_fault_of_the_compiler(monkeypatch):
    def full(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda f: full)
    with pytest.raises(torch.OutOfMemoryError):
        solve.compiled(lambda x: 2 * x)(torch.ones(3))


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_more_shapes_than_pytorchs_limit_are_compiled():
    step, stats = solve.compiled(lambda x: x + 1), torch._dynamo.utils.counters["stats"]
    before = stats["unique_graphs"]
    for axes in range(1, 13):  # each number of axes is a variant
        step(torch.ones((2,) * axes))
    assert stats["unique_graphs"] - before == 12
