"""What may be registered: fits, versions of Python, and the wording of the refusals."""

import pytest

from harvester.domain.model.functions import FunctionKind, FunctionVersion
from harvester.domain.model.resources import Resources
from harvester_api.problems import Refusal
from harvester_api.settings import Offer
from harvester_api.validation.capacity import check_cloudpickle, check_fits, check_python, check_resources

CPU = Offer(name="cpu", resources=Resources(cpus=8, memory_mb=16_000), python="3.11")
GPU = Offer(name="gpu", resources=Resources(cpus=4, gpus=2, memory_mb=64_000), python="3.12")
OFFERS = (CPU, GPU)


def refused(call, *args):
    with pytest.raises(Refusal) as raised:
        call(*args)
    return raised.value.problem


@pytest.mark.parametrize(
    ("asked", "python"),
    [(Resources(cpus=8), ""), (Resources(cpus=4, gpus=2), ""), (Resources(cpus=4, gpus=1), "3.12")],
)
def test_what_some_pilot_can_have_is_admitted(asked, python):
    check_resources(asked, python, OFFERS)


@pytest.mark.parametrize(
    ("asked", "python", "named"),
    [
        (Resources(cpus=64), "", "asked 64 CPUs; the largest configured pilot that comes nearest has 8 CPUs"),
        (Resources(cpus=5, gpus=1), "", "(shape gpu)"),
        (Resources(cpus=1, gpus=3), "", "(shape gpu)"),
        (Resources(cpus=1, memory_mb=99_000), "", "64000 MB (shape gpu)"),
        (Resources(cpus=1, gpus=1), "3.11", "(shape cpu)"),
    ],
)
def test_what_no_pilot_can_have_is_refused_with_the_one_that_comes_nearest(asked, python, named):
    problem = refused(check_resources, asked, python, OFFERS)
    assert (problem.status, problem.field) == (422, "resources")
    assert named in problem.detail


def test_without_offers_nothing_is_refused_for_its_size_or_its_python():
    check_resources(Resources(cpus=10_000), "3.9", ())
    check_python("3.9", (), "python", "Use")


def test_an_offer_whose_python_nobody_told_may_run_any():
    offers = (CPU, Offer(name="any", resources=Resources(cpus=1)))
    check_python("3.9", offers, "python", "Use")


def test_a_python_that_no_pilot_runs_is_refused_with_all_versions_named():
    problem = refused(check_python, "3.13", OFFERS, "python", "Register it from")
    assert "Python 3.13" in problem.detail
    assert "3.11 and 3.12" in problem.detail
    assert problem.remedy.startswith("Register it from Python 3.11 and 3.12")


def lasting(walltime_s, **more):
    return FunctionVersion(
        function_id="f@1", name="f", version=1, kind=FunctionKind.MODULE, body=b"m:f", walltime_s=walltime_s, **more
    )


def test_a_run_that_outlasts_every_pilot_that_suits_it_is_refused_with_the_longest_that_fits():
    offers = (
        Offer(name="short", resources=Resources(cpus=8), python="3.11", longest_s=100.0),
        Offer(name="long", resources=Resources(cpus=1), python="3.11", longest_s=1000.0),
    )
    check_fits(lasting(1000.0), offers)
    problem = refused(check_fits, lasting(1000.5), offers)
    assert (problem.status, problem.field) == (422, "walltime_s")
    assert "1000.5 s, and the longest that fits into a configured pilot is 1000 s" in problem.detail
    assert "100 s" in refused(check_fits, lasting(200.0, resources=Resources(cpus=2)), offers).detail


def test_a_run_that_checkpoints_or_declares_nothing_may_outlast_a_pilot():
    offers = (Offer(name="short", resources=Resources(cpus=8), longest_s=100.0),)
    check_fits(lasting(None), offers)
    check_fits(lasting(1e6, checkpoints=True), offers)


def test_where_nobody_knows_how_long_pilots_last_no_walltime_is_refused():
    check_fits(lasting(1e6), ())
    check_fits(lasting(1e6), (CPU, Offer(name="short", resources=Resources(cpus=8), longest_s=1.0)))


def test_a_pickle_of_another_major_cloudpickle_is_refused_with_both_versions():
    offers = (Offer(name="cpu", resources=Resources(cpus=8), cloudpickle="3.1.2"),)
    with pytest.raises(Refusal, match=r"cloudpickle 2\.2\.1, and the configured pilots have cloudpickle 3\.1\.2"):
        check_cloudpickle("2.2.1", offers)
    check_cloudpickle("3.0.0", offers)
    check_cloudpickle("2.2.1", (*offers, Offer(name="unknown", resources=Resources(cpus=8))))
    check_cloudpickle("2.2.1", ())
