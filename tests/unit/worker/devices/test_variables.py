"""What a pilot reads of its allocation: devices, host, end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_worker.devices import allocation, gpus, variables


@pytest.mark.parametrize(
    ("text", "ids"),
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
def test_every_form_of_device_lists_is_read(text, ids):
    assert variables.parse(text) == ids


def test_the_first_variable_that_is_set_wins_and_the_order_caps():
    assert gpus.found({"CUDA_VISIBLE_DEVICES": "2,3", "SLURM_JOB_GPUS": "0,1"}, wanted=1) == ("2",)
    assert gpus.found({"CUDA_VISIBLE_DEVICES": "", "SLURM_JOB_GPUS": "0,1"}, wanted=1) == ()
    assert gpus.found({"SLURM_STEP_GPUS": "0-3"}, wanted=2) == ("0", "1")


def test_who_asked_for_no_device_takes_none():
    assert gpus.found({"CUDA_VISIBLE_DEVICES": "0,1"}, wanted=0) == ()


def test_devices_of_every_vendor_are_found():
    assert gpus.found({"ROCR_VISIBLE_DEVICES": "2,3", "SLURM_STEP_GPUS": "6,7"}, wanted=2) == ("2", "3")
    assert gpus.found({"ZE_AFFINITY_MASK": "0.0,0.1"}, wanted=2) == ("0.0", "0.1")
    both = {"CUDA_VISIBLE_DEVICES": "0", "ROCR_VISIBLE_DEVICES": "4"}
    assert gpus.found(both, wanted=1, amd=True) == ("4",)
    assert gpus.found(both, wanted=1) == ("0",)


UNDECIDED = {  # what Slurm sets when gres.conf does not name the vendor
    "CUDA_VISIBLE_DEVICES": "0-3",
    "ROCR_VISIBLE_DEVICES": "0,1,2,3",
    "ZE_AFFINITY_MASK": "0,1,2,3",
    "GPU_DEVICE_ORDINAL": "0,1,2,3",
    "SLURM_STEP_GPUS": "4-7",
    "SLURM_JOB_GPUS": "4-7",
    "SLURM_GPUS_ON_NODE": "4",
}


@pytest.mark.parametrize(
    ("environ", "amd", "mine", "seen"),
    [
        (
            UNDECIDED,
            False,
            ("1", "3"),
            {
                "CUDA_VISIBLE_DEVICES": "1,3",
                "ROCR_VISIBLE_DEVICES": "1,3",
                "ZE_AFFINITY_MASK": "1,3",
                "GPU_DEVICE_ORDINAL": "1,3",
                "SLURM_STEP_GPUS": "5,7",
                "SLURM_JOB_GPUS": "5,7",
                "SLURM_GPUS_ON_NODE": "2",
            },
        ),
        (
            UNDECIDED,  # AMD's upper layers count what the lower one has left
            True,
            ("1", "3"),
            {
                "CUDA_VISIBLE_DEVICES": "0,1",
                "ROCR_VISIBLE_DEVICES": "1,3",
                "ZE_AFFINITY_MASK": "1,3",
                "GPU_DEVICE_ORDINAL": "0,1",
                "SLURM_STEP_GPUS": "5,7",
                "SLURM_JOB_GPUS": "5,7",
                "SLURM_GPUS_ON_NODE": "2",
            },
        ),
        (
            UNDECIDED,
            True,
            (),
            {
                "CUDA_VISIBLE_DEVICES": "",
                "ROCR_VISIBLE_DEVICES": "-1",
                "ZE_AFFINITY_MASK": "-1",
                "GPU_DEVICE_ORDINAL": "-1",
                "SLURM_STEP_GPUS": None,
                "SLURM_JOB_GPUS": None,
                "SLURM_GPUS_ON_NODE": "0",
            },
        ),
        (
            {"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "0,1"},
            True,
            ("3",),
            {"ROCR_VISIBLE_DEVICES": "3", "HIP_VISIBLE_DEVICES": "0"},
        ),
        ({"HIP_VISIBLE_DEVICES": "2,3"}, True, ("3",), {"HIP_VISIBLE_DEVICES": "3"}),
        ({"ZE_AFFINITY_MASK": "0.0,0.1"}, False, ("0.1",), {"ZE_AFFINITY_MASK": "0.1"}),
        ({"ZE_AFFINITY_MASK": "0,1"}, False, (), {"ZE_AFFINITY_MASK": "-1"}),
        ({"SLURM_STEP_GPUS": "2,3"}, False, ("3",), {"SLURM_STEP_GPUS": "3", "CUDA_VISIBLE_DEVICES": "3"}),
        ({"SLURM_STEP_GPUS": "2,3"}, True, ("3",), {"SLURM_STEP_GPUS": "3", "ROCR_VISIBLE_DEVICES": "3"}),
        ({}, False, ("1",), {"CUDA_VISIBLE_DEVICES": "1"}),
        ({}, False, (), {"CUDA_VISIBLE_DEVICES": ""}),
        (
            {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b", "SLURM_JOB_GPUS": "0-7"},  # of other steps too
            False,
            ("GPU-b",),
            {"CUDA_VISIBLE_DEVICES": "GPU-b", "SLURM_JOB_GPUS": None},
        ),
    ],
)
def test_a_slot_sees_exactly_its_devices_whatever_the_vendor(environ, amd, mine, seen):
    assert variables.narrowed(environ, mine, amd=amd) == seen


@given(st.integers(1, 8), st.booleans(), st.sets(st.sampled_from(variables.NAMES[:-1])), st.data())
def test_slots_share_all_devices_out_without_overlap_by_every_variable(count, amd, names, data):
    environ = {name: ",".join(str(100 * number + i) for i in range(count)) for number, name in enumerate(sorted(names))}
    told = variables.told(environ, amd=amd) or tuple(map(str, range(count)))
    cut = data.draw(st.integers(0, count))
    first, second = (variables.narrowed(environ, mine, amd=amd) for mine in (told[:cut], told[cut:]))
    assert set(first) == set(second) >= names
    for name, text in environ.items():
        if amd and "ROCR_VISIBLE_DEVICES" in environ and name in {variables.CUDA, variables.HIP, variables.ORDINAL}:
            continue
        assert variables.parse(first[name] or "") + variables.parse(second[name] or "") == variables.parse(text)


@pytest.mark.parametrize(
    ("environ", "batch_job_id"),
    [
        ({"SLURM_JOB_ID": "17"}, "17"),
        ({"PBS_JOBID": "4.head"}, "4"),
        ({"PBS_JOBID": "4[2].head.example.org"}, "4[2]"),
        ({"HARVESTER_BATCH_JOB_ID": "local-3"}, "local-3"),
        ({"HARVESTER_BATCH_JOB_ID": "4.head", "PBS_JOBID": "4.head"}, "4.head"),  # classic PBS, through PSI/J
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
