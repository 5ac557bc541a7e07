"""What a pilot reads of its allocation: devices, host, end."""

import pytest

from harvester_worker import allocation, gpus


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("0,1", ("0", "1")),
        ("0-2", ("0", "1", "2")),
        ("0-1,4", ("0", "1", "4")),
        (" 0 , 1 ", ("0", "1")),
        ("GPU-8f1c1d4e-1,GPU-2", ("GPU-8f1c1d4e-1", "GPU-2")),
        ("MIG-GPU-1/2/0,MIG-3", ("MIG-GPU-1/2/0", "MIG-3")),
        ("NoDevFiles", ()),
        ("", ()),
        ("-1", ()),
        ("0,-1,1", ("0",)),
        ("1,1", ("1",)),
    ],
)
def test_every_form_of_device_lists_is_read(text, devices):
    assert gpus.parse(text) == devices


def test_the_first_variable_that_is_set_wins_and_the_order_caps():
    assert gpus.found({"CUDA_VISIBLE_DEVICES": "2,3", "SLURM_JOB_GPUS": "0,1"}, wanted=1) == ("2",)
    assert gpus.found({"CUDA_VISIBLE_DEVICES": "", "SLURM_JOB_GPUS": "0,1"}, wanted=1) == ()
    assert gpus.found({"SLURM_STEP_GPUS": "0-3"}, wanted=2) == ("0", "1")


def test_who_asked_for_no_device_takes_none():
    assert gpus.found({"CUDA_VISIBLE_DEVICES": "0,1"}, wanted=0) == ()


@pytest.mark.parametrize(
    ("environ", "batch_job_id"),
    [
        ({"SLURM_JOB_ID": "17"}, "17"),
        ({"PBS_JOBID": "4.head"}, "4.head"),
        ({"HARVESTER_BATCH_JOB_ID": "local-3"}, "local-3"),
        ({}, ""),
    ],
)
def test_the_batch_job_is_named_as_its_scheduler_names_it(environ, batch_job_id):
    host = allocation.host(environ, python=(3, 12), hostname="h")
    assert (host.python, host.node, host.batch_job_id) == ("3.12", "h", batch_job_id)


def test_slurms_name_of_the_node_and_its_end_time_win():
    environ = {"SLURMD_NODENAME": "n3", "SLURM_JOB_END_TIME": "1500"}
    assert allocation.host(environ, python=(3, 11), hostname="h").node == "n3"
    assert allocation.time_left_s(environ, now_at=1000.0, walltime_s=900.0) == 500.0
    assert allocation.time_left_s({}, now_at=1000.0, walltime_s=900.0) == 900.0
