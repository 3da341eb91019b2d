"""Sweeps on Ray: two local workers reach the results of a single process, even if one of them is killed."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from helpers.models import alive

from nada.checkpoint import load_generator, save_generator
from nada.cli import main, sweep
from nada.clip.loading import ClipSpec
from nada.errors import NadaError
from nada.runs.folder import RunFolder
from nada.stylegan2 import GeneratorConfig
from nada.styles.files import load_style
from nada.sweep import ray_engine
from nada.sweep.jobs import Job, Models, resolve
from nada.sweep.local import LocalEngine
from nada.sweep.ray_engine import Cluster, RayEngine, absolute, on_ray
from nada.sweep.state import BEGUN, DONE, PENDING, Orders, failure, status
from nada.sweep.work import Watch
from nada.training.config import AdaptConfig

CPU, ITERATIONS = torch.device("cpu"), 60
RUNGS = tuple(range(2, ITERATIONS, 2))  # frequent states, from which a lost worker's job resumes


@pytest.fixture
def jobs(clip_folder, tmp_path):
    """Two targets and two seeds with small models, by absolute paths."""
    path = tmp_path / "base.safetensors"
    save_generator(alive(GeneratorConfig(16, (24, 20, 16), z_dim=16, w_dim=16, mapping_layers=2)), path)
    shared = {"generator": str(path), "clip": str(clip_folder), "source": "photo", "batch": 2, "iterations": ITERATIONS}
    grid = [{**shared, "target": target, "seed": seed} for target in ("sketch", "glass") for seed in (0, 1)]
    return resolve(grid, Models(load_generator, CPU))


@pytest.fixture(autouse=True)
def few_prompts():
    """All prompts of the method, as in Ray's workers, which are processes of their own."""


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(jobs, tmp_path, one_thread):
    pytest.importorskip("ray")
    calm = Orders(tmp_path / "calm", rungs=RUNGS)
    LocalEngine(Models(load_generator, CPU), calm, Watch()).train(jobs)
    orders, killed, settled = Orders(tmp_path / "ray", rungs=RUNGS), [], []
    engines, others = [], [job for job in jobs if job.config.seed == 1]
    jobs = [job for job in jobs if job not in others]

    def kill_one() -> bool:
        """Kill the process of a worker in the middle of its job, while the engine waits."""
        begun = [job for job in jobs if orders.folder(job).states() and job.id not in settled]
        if begun and not killed and len(engines[0].actors) == 2:
            ray = engines[0].ray
            killed.append(ray.get(engines[0].actors[0].__ray_call__.remote(lambda worker: os.getpid())))
            with suppress(ProcessLookupError):
                os.kill(killed[0], signal.SIGKILL)
        return False

    watch = Watch(stop=kill_one, settled=lambda job: settled.append(job.id))
    with on_ray(jobs, load_generator, orders, watch, 1, Cluster(workers=2, threads=1)) as engine:
        engines.append(engine)
        engine.train(jobs)
        numbers = [engine.ray.get(actor.__ray_call__.remote(lambda worker: os.getpid())) for actor in engine.actors]
        watch.stop = lambda: any(orders.folder(job).states() for job in others)  # the user presses Ctrl-C
        engine.train(others)
    assert killed, "no worker was killed while it trained"
    assert killed[0] not in numbers, "a fresh process took its place"
    assert {job.id for job in jobs} <= set(settled)
    assert {status(orders.folder(job), ITERATIONS) for job in others} <= {BEGUN, PENDING}, "it ends after the step"
    assert any(orders.folder(job).states() for job in others), "and keeps what there is"
    for job in jobs:
        assert status(orders.folder(job), ITERATIONS) == DONE, failure(orders.folder(job))
        name = f"photo_to_{job.config.target}.style.safetensors"
        one, other = (load_style(folder.path / name) for folder in (calm.folder(job), orders.folder(job)))
        assert one.deltas.keys() == other.deltas.keys()
        assert all(torch.equal(delta, other.deltas[name]) for name, delta in one.deltas.items())
        assert calm.folder(job).record()["losses"] == RunFolder(orders.folder(job).path).record()["losses"]


def test_without_ray_it_says_how_to_install_it(jobs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    engine = on_ray(jobs, load_generator, Orders(tmp_path), Watch(), 1, Cluster())
    with pytest.raises(NadaError, match=r"pip install 'ray>=2\.9'"), engine:
        pass


class Ray:
    """Stands in for Ray: workers end as soon as they are waited for, and a busy one only after it was told to stop."""

    exceptions = type("Exceptions", (), {"RayError": ConnectionError})

    def __init__(self):
        self.told = []

    def wait(self, running, timeout):
        done = [worker for worker in running if worker.result or worker in self.told]
        return (done or running), []

    def get(self, worker):
        worker.ended = True
        return worker.result


class Worker:
    def __init__(self, ray: Ray, result: str):
        self.result, self.ended = result, False
        begin = lambda jobs, until: self
        self.train = self.save_stopped = type("Method", (), {"remote": staticmethod(begin)})
        self.stop = type("Method", (), {"remote": staticmethod(lambda: ray.told.append(self))})


@pytest.mark.parametrize("method", ["train", "save_stopped"])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_lets_the_other_workers_save_before_the_sweep_ends(tmp_path, method, failing):
    ray, settled = Ray(), []
    workers = [Worker(ray, "the disk is full" if number == failing else "") for number in range(3)]
    config = AdaptConfig("photo", "sketch")
    jobs = [Job(f"{seed:064x}", "g", "c", replace(config, seed=seed)) for seed in range(5)]
    engine = RayEngine(ray, workers, Orders(tmp_path, stop_on_error=True), Watch(settled=settled.append), 1)
    with pytest.raises(NadaError, match="the disk is full"):
        getattr(engine, method)(jobs)
    assert ray.told == workers, "each is told to stop, once"
    assert all(worker.ended for worker in workers), "none is left at work"
    assert len(settled) == 3, "no further job begins"


@pytest.mark.parametrize("method", ["train", "save_stopped"])
def test_a_worker_reports_an_error_as_a_sentence(tmp_path, monkeypatch, method):
    def fail(*given):
        raise NadaError("the disk is full")

    for name in ("work", "save_stopped"):
        monkeypatch.setattr(ray_engine.Worker, name, fail)
    remote = ray_engine.Remote(load_generator, CPU, Orders(tmp_path), 1)
    assert getattr(remote, method)([None], None) == "the disk is full"


@pytest.mark.parametrize("form", ["{}", "{}:0.5", "RN50@{}", "RN50@{}:0.25", "ViT-B/32,{}:1e-05", "{},RN50@{}:2.5"])
def test_every_path_in_a_job_becomes_absolute(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "my@mine", "demo", "demo-conv"):
        (tmp_path / name).touch()
    (job,) = absolute([Job("0" * 64, "mine", form.format("mine", "mine"), AdaptConfig("a", "b"), ("mine",))])
    there = str(tmp_path / "mine")
    (other,) = absolute([Job("0" * 64, "mine", "my@mine:0.5", AdaptConfig("a", "b"))])
    assert other.clip == f"{tmp_path / 'my@mine'}:0.5"
    assert (job.generator, job.style_images) == (there, (there,))
    assert ClipSpec.parse(job.clip) == ClipSpec.parse(form.format(there, there))


@pytest.mark.parametrize("clip", ["demo", "demo:0.5", "demo-conv,demo-vit:2.0", "ViT-B/32,RN50@openai"])
def test_names_in_a_job_stay_names(tmp_path, monkeypatch, clip):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (job,) = absolute([Job("0" * 64, "demo", clip, AdaptConfig("a", "b"))])
    assert (job.generator, job.clip) == ("demo", clip)


def test_the_share_of_a_gpu_follows_from_the_measured_peak_of_the_largest_job(jobs, monkeypatch):
    measured, probed = [(1_000_000_000, 1_000_000), (3_000_000_000, 30_000_000)], []

    class Remote:
        def __init__(self, **options):
            self.options = options

        def __call__(self, function):
            self.remote = lambda kinds, *others: probed.append(len(kinds)) or (measured, 24_000_000_000)
            return self

    ray = type("Ray", (), {"remote": staticmethod(Remote), "get": staticmethod(lambda found: found)})
    assert ray_engine._share(ray, jobs, load_generator, CPU, 1) == 0.19
    assert ray_engine._share(ray, jobs, load_generator, CPU, 4) == 0.26
    larger = replace(jobs[0], config=replace(jobs[0].config, batch=8))
    ray_engine._share(ray, [*jobs, larger], load_generator, CPU, 1)
    assert probed == [1, 1, 2], "texts and seeds make no difference"
    measured.clear()  # no job can train
    assert ray_engine._share(ray, jobs, load_generator, CPU, 1) == 1.0


def test_a_job_that_cannot_train_does_not_stop_the_measurement_of_the_others(jobs, monkeypatch):
    device = type("Device", (), {"total_memory": 24_000_000_000})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda place: device)
    unfit, same, good = jobs[:3]
    same = replace(same, config=replace(same.config, target="photo"))
    measure = ray_engine.measure_step

    def measured(job, models):
        if job is unfit:
            raise MemoryError
        return measure(job, models)

    monkeypatch.setattr(ray_engine, "measure_step", measured)
    (one, other), total = ray_engine.measured_on_gpu([unfit, same, good], load_generator, CPU)
    assert (one[0], other[0], total) == (24_000_000_000, 0, 24_000_000_000), "a CPU has no peak"
    assert one[1] == other[1] > 0


def test_the_models_that_measure_have_absolute_paths_too(tmp_path, monkeypatch):
    """Workers of Ray have working folders of their own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "sweep.yaml").write_text("base: {generator: demo, source: a, target: b}\nevaluate: {clip: mine}\n")
    seen = []
    monkeypatch.setattr(sweep, "resolve", lambda combinations, models: [])
    monkeypatch.setattr(sweep, "check_measures", lambda evaluation, *_: seen.append(evaluation.clip))
    monkeypatch.setattr(sweep, "_estimated", lambda *_: {"jobs": {}})
    for ray in ([], ["--ray"]):
        main(["sweep", "sweep.yaml", "--dry-run", "--json", *ray])
    assert seen == ["mine", str(tmp_path / "mine")]
