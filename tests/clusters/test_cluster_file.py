"""What a cluster file may say, how a wrong one is answered, and the job that each kind of queue is asked for."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from distributed import Security
from waiting import LIMIT_S

from nbdist.clusters.cluster_file import ClusterFile, lifetime_and_stagger, load_cluster_file, read_duration
from nbdist.clusters.job_scripts import make_job
from nbdist.clusters.queue_states import read_states
from nbdist.errors import RunError
from nbdist.private_folder import trusted_folder

CLUSTER = Path(__file__).parent.parent.parent / "cluster"
SCHEDULER = "tls://10.1.2.3:8786"
SECURITY = Security(
    require_encryption=True,
    **{name: f"/shared/my run/{name}.pem" for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key")},
)
GOOD = {
    "kind": "slurm",
    "cores": 4,
    "memory": "8GB",
    "walltime": "02:00:00",
    "jobs": {"minimum": 1, "maximum": 3},
    "interface": "lo",
}


def written(tmp_path, **fields):
    content = {**GOOD, **fields}
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in content.items() if value is not None}))
    return path


def script(tmp_path, lifetime_s=None, **fields):
    """The job script of a cluster file with these fields."""
    file = load_cluster_file(written(tmp_path, log_folder=str(tmp_path / "logs"), **fields))
    return make_job(file, SCHEDULER, "nbdist-1", SECURITY, lifetime_s).job_script()


def test_a_file_in_the_home_folder_is_named_as_a_shell_does(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path)
    assert load_cluster_file("~/cluster.yaml") == load_cluster_file(tmp_path / "cluster.yaml")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "torque"}, "kind: should be 'slurm', 'pbs', 'lsf' or 'sge', found \"torque\""),
        ({"kind": None}, "kind: is required and was not given"),
        ({"partition": "short"}, 'partition: unknown field (found "short")'),
        ({"cores": 0}, "cores: should be greater than or equal to 1, found 0"),
        ({"memory": "8 gigs"}, "memory: should be like 32GB or 500MiB, found 8 gigs"),
        ({"memory": "0GB"}, "memory: should be like 32GB or 500MiB, found 0GB"),
        ({"walltime": "2 hours"}, 'walltime: should be like "04:00:00", "1-12:00:00", 90min or 4h, found 2 hours'),
        ({"walltime": "00:00:00"}, "walltime: should be more than nothing, found 00:00:00"),
        ({"walltime": 7200}, "walltime: should be a valid string, found 7200"),
        ({"jobs": {"minimum": 4, "maximum": 3}}, "jobs: minimum should be at most maximum, found 4 and 3"),
        ({"jobs": {"max": 3}}, "jobs.max: unknown field, near maximum (found 3)"),
        ({"interface": None}, "interface: is required and was not given"),
        ({"interface": "10.1.2.3"}, "worker_interface: is required where interface is an address (found 10.1.2.3)"),
        ({"prologue": ["module load a\nrm b"]}, "prologue.0: should be one line of text"),
        ({"kind": "sge"}, "parallel_environment: is required with kind sge and several cores"),
        ({"parallel_environment": "smp"}, "parallel_environment: is for kind sge, found kind slurm"),
        ({"lifetime": "2h"}, "lifetime: should be shorter than the walltime 02:00:00, found 2h"),
        ({"dashboard": "everywhere"}, "dashboard: should"),
        ({"gpus": 1000}, "gpus: should be the GPUs of one job, found 1000"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found_and_what_is_allowed(tmp_path, fields, said):
    path = written(tmp_path, **fields)
    with pytest.raises(RunError) as refused:
        load_cluster_file(path)
    assert str(refused.value).startswith(f"{path}: {said}")
    assert "\n" not in str(refused.value)


def test_files_that_cannot_be_read_are_refused_in_one_line(tmp_path):
    broken, listed = tmp_path / "broken.yaml", tmp_path / "listed.yaml"
    broken.write_text("kind: slurm\nkind: pbs\n")
    listed.write_text("- kind\n")
    for path, said in (
        (tmp_path / "none.yaml", "cannot be read: No such file"),
        (broken, "line 2: 'kind' is given twice"),
        (listed, "expected the fields of a cluster file"),
    ):
        with pytest.raises(RunError, match=said):
            load_cluster_file(path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("04:00:00", 14400), ("1-12:30:05", 131405), ("90min", 5400), ("2d", 172800)]
)
def test_durations(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("walltime", [60, 120, 600, 3600, 4 * 3600, 24 * 3600, 14 * 86400])
def test_workers_end_before_the_walltime_and_not_all_at_once(walltime):
    lifetime, stagger = lifetime_and_stagger(walltime)
    assert stagger >= 5
    assert lifetime - stagger > 0
    assert walltime - (lifetime + stagger) >= min(60, walltime / 2), "time to end in order"
    assert walltime - (lifetime + stagger) <= 601, "and no more of it than that"


def test_bytes_of_memory():
    for text, number in (("32GB", 32 * 10**9), ("1.5 GiB", 3 * 2**29), ("500MiB", 500 * 2**20), ("8000kB", 8 * 10**6)):
        assert ClusterFile.model_validate({**GOOD, "memory": text}).memory == number


def test_a_slurm_job(tmp_path):
    text = script(
        tmp_path,
        queue="short",
        account="mx1",
        prologue=["module load gcc"],
        directives=["--constraint=skylake"],
        python="/opt/nbdist/bin/python",
    )
    for line in (
        "#SBATCH -p short",
        "#SBATCH -A mx1",
        "#SBATCH -n 1",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=7630M",
        "#SBATCH -t 02:00:00",
        "#SBATCH --constraint=skylake",
        "export OMP_NUM_THREADS=1",
        "export MALLOC_TRIM_THRESHOLD_=268435456",
        "module load gcc",
    ):
        assert line in text.splitlines()
    (command,) = [line for line in text.splitlines() if "dask_worker" in line]
    assert command.startswith(f"/opt/nbdist/bin/python -m distributed.cli.dask_worker {SCHEDULER} --name nbdist-1 ")
    for option in (
        "--nthreads 1",
        "--nworkers 4",
        "--nanny",
        "--interface lo",
        "--no-dashboard",
        "--worker-class nbdist.clusters.local.PrivateWorker",
        "--protocol tls",
        "--tls-ca-file '/shared/my run/tls_ca_file.pem'",
        "--tls-cert '/shared/my run/tls_worker_cert.pem'",
        "--tls-key '/shared/my run/tls_worker_key.pem'",
        "--lifetime 6000s --lifetime-stagger 600s",
    ):
        assert option in command


def test_the_lifetime_of_the_command_line_goes_before_that_of_the_file(tmp_path):
    assert "--lifetime 3600s" in script(tmp_path, lifetime="1h")
    assert "--lifetime 1800s" in script(tmp_path, lifetime="1h", lifetime_s=1800)
    with pytest.raises(RunError, match="--lifetime: should be shorter than the walltime 02:00:00"):
        script(tmp_path, lifetime_s=7200)


@pytest.mark.parametrize(
    ("kind", "fields", "lines"),
    [
        ("slurm", {"gpus": 2}, ["#SBATCH --cpus-per-task=4", "#SBATCH --gres=gpu:2"]),
        ("slurm", {"gpus": 2, "gpu_directive": "--gpus=a100:2"}, ["#SBATCH --gpus=a100:2"]),
        (
            "pbs",
            {"account": "mx1", "queue": "workq"},
            ["#PBS -q workq", "#PBS -A mx1", "#PBS -l select=1:ncpus=4:mem=7630mb"],
        ),
        ("pbs", {"gpus": 2}, ["#PBS -l select=1:ncpus=4:mem=7630mb:ngpus=2", "#PBS -l walltime=02:00:00"]),
        (
            "lsf",
            {"account": "mx1", "queue": "normal"},
            ["#BSUB -q normal", '#BSUB -P "mx1"', "#BSUB -n 4", "#BSUB -W 02:00"],
        ),
        ("lsf", {"gpus": 1}, ['#BSUB -gpu "num=1"', '#BSUB -R "span[hosts=1]"', "#BSUB -M 8000000"]),
        (
            "sge",
            {"parallel_environment": "smp", "account": "mx1", "queue": "all.q"},
            ["#$ -q all.q", "#$ -P mx1", "#$ -pe smp 4", "#$ -l h_rt=02:00:00", "#$ -cwd"],
        ),
        ("sge", {"parallel_environment": "smp", "gpus": 1}, ["#$ -l gpu=1"]),
    ],
)
def test_what_each_queue_is_asked_for(tmp_path, kind, fields, lines):
    text = script(tmp_path, kind=kind, **fields)
    for line in lines:
        assert line in text.splitlines()
    workers = fields.get("gpus", 4)
    assert ("--nworkers" in text) == (workers > 1)
    assert f"--nthreads {2 if 'gpus' in fields else 1} " in text
    assert ("--preload nbdist.clusters.gpus" in text) == ("gpus" in fields)
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["slurm", "pbs", "lsf", "sge"])
def test_a_job_script_is_nobody_elses_while_it_is_submitted(kind, tmp_path):
    """Lines of a prologue may hold secrets, and whoever puts another script in its place runs it as the user."""
    fields = {"kind": kind, "parallel_environment": "smp" if kind == "sge" else None}
    file = load_cluster_file(written(tmp_path, prologue=["export TOKEN=s3cr3t"], **fields))
    with make_job(file, SCHEDULER, "nbdist-1", SECURITY, None).job_file() as name:
        path = Path(name)
        assert "export TOKEN=s3cr3t" in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert trusted_folder(path.parent) == path.parent
    assert not path.exists()


def scratch_of(tmp_path, parent):
    """What the lines of a job's script that make its folder print, and how they end."""
    lines = script(tmp_path, scratch_folder=str(parent)).splitlines()
    made = next(line for line in lines if line.startswith("nbdist_scratch="))
    command = ["bash", "-c", f'{made}; echo "$nbdist_scratch"']
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)


def test_the_folder_of_a_jobs_workers_is_where_nobody_else_can_replace_it(tmp_path):
    made = scratch_of(tmp_path, tmp_path / "new" / "my scratch")
    folder = Path(made.stdout.strip())
    assert folder.parent == (tmp_path / "new" / "my scratch").resolve(), made.stderr
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.parent.chmod(0o1777)
    assert scratch_of(tmp_path, folder.parent).returncode == 0
    folder.parent.chmod(0o777)
    refused = scratch_of(tmp_path, folder.parent)
    assert refused.returncode == 1
    assert f"{folder.parent} is writable by others (mode 777)" in refused.stderr.splitlines()[-1]


def test_directives_can_be_left_out(tmp_path):
    assert "--mem=" in script(tmp_path)
    assert "--mem=" not in script(tmp_path, skip_directives=["--mem"])


@pytest.mark.parametrize("kind", ["slurm", "pbs", "lsf", "sge"])
def test_the_example_files_make_jobs(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = load_cluster_file(CLUSTER / f"{kind}.yaml")
    assert file.kind == kind
    text = make_job(file, SCHEDULER, "nbdist-1", SECURITY, None).job_script()
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    assert f"--interface {file.worker_interface or file.interface}" in text


@pytest.mark.parametrize("name", ["slurm_job.sbatch", "pbs_job.pbs", "lsf_job.lsf"])
def test_the_batch_files_are_shell_and_start_workers_as_a_local_run_does(name):
    from nbdist.clusters.local import WORKER_ENVIRONMENT

    text = (CLUSTER / name).read_text()
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    (exported,) = re.findall(r"^export (OMP_NUM_THREADS.*)$", text, re.MULTILINE)
    assert dict(part.split("=") for part in exported.split()) == WORKER_ENVIRONMENT
    assert text.count('"${tls[@]}"') == 2, "the scheduler and the workers ask for a certificate"


def test_a_slurm_of_one_machine_is_not_brought_up_where_others_can_write(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    up = [CLUSTER / "local_slurm" / "up.sh", tmp_path / "open"]
    refused = subprocess.run(up, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "others can write there" in refused.stderr
    assert not list((tmp_path / "open").iterdir())


@pytest.mark.parametrize("secret", ["s3cr3t", 'it\'s "quoted" $HOME'])
def test_the_batch_file_of_pbs_gives_the_other_nodes_its_environment_on_no_command_line(secret, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    log = {name: tmp_path / f"{name}.log" for name in ("pbs_tmrsh", "dask")}
    stand_ins = {
        "python": "echo 127.0.0.1",
        "nbdist": f"""[ $1 != certificate ] || {{ mkdir -m 700 "$2/.tls-a"; echo c,c,"$2/.tls-a/key.pem"; exit; }}
            until [ $(wc -l <'{log["dask"]}') = 2 ]; do sleep 0.01; done""",
        # as the program does: the environment of the other node is a bare one
        "pbs_tmrsh": f"""echo "$@" >>'{log["pbs_tmrsh"]}'; stat -c %a "$3" "$(dirname "$3")" >>'{tmp_path}/modes'
            shift; exec env -i PATH="$PATH" "$@\"""",
        "dask": f"""[ $1 = worker ] && echo "$SECRET $PWD" >>'{log["dask"]}' && exit
            while [ $# -gt 1 ]; do [ "$1" != --scheduler-file ] || touch "$2"; shift; done; exec sleep 60""",
    }
    log["dask"].touch()
    for name, does in stand_ins.items():
        (tools / name).write_text(f"#!/bin/bash\n{does}\n")
        (tools / name).chmod(0o755)
    (tmp_path / "nodes").write_text("node1\nnode2\n")
    queue = {"PBS_O_WORKDIR": tmp_path, "PBS_NODEFILE": tmp_path / "nodes", "PBS_JOBID": "12.server", "NCPUS": 1}
    ours = {"EXPERIMENT": "a.yaml", "STORE": "a.zarr", "NBDIST_INTERFACE": "ib0", "SECRET": secret, "NODES": 2}
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        **{k: str(v) for k, v in (queue | ours).items()},
    }
    ran = subprocess.run(
        ["bash", CLUSTER / "pbs_job.pbs"], env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert log["dask"].read_text().splitlines() == [f"{secret} {tmp_path}"] * 2
    said = log["pbs_tmrsh"].read_text()
    assert "SECRET" not in said
    assert secret not in said
    assert (tmp_path / "modes").read_text().split() == ["600", "700"] * 2
    assert not list(tmp_path.glob(".tls-*"))


def test_a_file_counts_its_workers():
    cpu, gpu = ClusterFile.model_validate(GOOD), ClusterFile.model_validate({**GOOD, "gpus": 2})
    assert (cpu.workers_per_job, cpu.most_workers) == (4, 12)
    assert (gpu.workers_per_job, gpu.most_workers) == (2, 6)


@pytest.mark.parametrize(
    ("kind", "text", "states"),
    [
        ("slurm", "12 PD\n13 R\n14 CG\n99 R\n", {"12": False, "13": True, "14": False}),
        (
            "pbs",
            "Job id            Name             User              Time Use S Queue\n"
            "----------------  ---------------- ----------------  -------- - -----\n"
            "12.server         nbdist           me                00:00:00 R workq\n"
            "13.server         nbdist           me                       0 Q workq\n"
            "14.server         nbdist           me                00:10:00 C workq\n",
            {"12": True, "13": False},
        ),
        (
            "lsf",
            "JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME\n"
            "12      me      RUN   normal     login       node1       nbdist     Nov 22 10:00\n"
            "13      me      PEND  normal     login                   nbdist     Nov 22 10:00\n"
            "14      me      EXIT  normal     login       node1       nbdist     Nov 22 10:00\n",
            {"12": True, "13": False},
        ),
        (
            "sge",
            "job-ID  prior   name       user         state submit/start at     queue          slots\n"
            "-----------------------------------------------------------------------------------\n"
            "     12 0.55500 nbdist     me           r     11/22/2026 10:00:00 all.q@node1    4\n"
            "     13 0.00000 nbdist     me           qw    11/22/2026 10:00:00                4\n",
            {"12": True, "13": False},
        ),
    ],
)
def test_jobs_that_wait_and_jobs_that_run_are_told_apart(kind, text, states):
    assert read_states(kind, text, ["12", "13", "14"]) == states
