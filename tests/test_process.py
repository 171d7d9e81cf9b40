"""What importing pyfq and running its kernels does to the process, and what it must not do."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pyfq

CONFIG = pyfq.show_config(mode="dict")

needs_openmp = pytest.mark.skipif(not CONFIG["openmp"], reason="this build has no OpenMP")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux shows it, others do not")
needs_dispatch = pytest.mark.skipif(
    len(CONFIG["isas built"]) == 1, reason="this build has one variant"
)

# Of the standard library, what takes long to import and what only some functions need.
HEAVY = {"argparse", "asyncio", "email", "http", "logging", "multiprocessing", "unittest", "urllib"}


@pytest.fixture
def run(tmp_path):
    """Run a script in a process of its own and return what it writes; a hanging one fails."""

    def run(script, expect=0, **environment):
        file = tmp_path / "script.py"
        file.write_text(textwrap.dedent(script))
        process = subprocess.Popen(
            [sys.executable, file],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its children too
            said, _ = process.communicate()
            pytest.fail(f"the process hangs, after writing:\n{said}")
        assert process.returncode == expect, said
        return said.strip()

    return run


@pytest.mark.parametrize("policy", [{}, {"OMP_WAIT_POLICY": "active"}])
def test_import_leaves_environment(run, policy):
    run(
        """
        import ctypes, os, numpy

        def seen():
            variables = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
            by_c = []
            while variables[len(by_c)]:
                by_c.append(variables[len(by_c)])
            return dict(os.environ), sorted(by_c)

        before = seen()
        import pyfq
        assert seen() == before
        """,
        **policy,
    )


@needs_linux
@needs_openmp
@pytest.mark.parametrize("policy", [None, "active"])
def test_import_lets_idle_threads_sleep(run, policy):
    chosen = {} if policy is None else {"OMP_WAIT_POLICY": policy}
    said = run("import pyfq", OMP_DISPLAY_ENV="verbose", **chosen)
    assert f"OMP_WAIT_POLICY = '{(policy or 'passive').upper()}'" in said
    assert ("GOMP_SPINCOUNT = '5000'" in said) == (policy is None)


@needs_linux
def test_import_leaves_affinity(run):
    run(
        """
        import os, numpy
        before = os.sched_getaffinity(0)
        import pyfq
        assert os.sched_getaffinity(0) == before
        """,
        OMP_PROC_BIND="true",
        OMP_PLACES="cores",
    )


def test_import_and_kernels_leave_floating_point_mode(run):
    run(
        """
        import ctypes, numpy as np
        mode = ctypes.CDLL(None).fegetround

        def seen():
            denormals = np.array([1e-310, -5e-324]) / 1, np.array([1e-40, -1e-45], np.float32) / 1
            return mode(), *(x.tobytes() for x in denormals), 2.0**-1074 / 1

        before = seen()
        assert before[-1] > 0
        import pyfq
        assert seen() == before
        pyfq.quantize(np.ones((2000, 1000), np.float32), 4)
        assert seen() == before
        """
    )


@needs_linux
def test_import_starts_no_threads(run):
    run(
        """
        import os, numpy
        before = os.listdir("/proc/self/task")
        import pyfq
        assert os.listdir("/proc/self/task") == before
        """
    )


def test_import_loads_nothing_else(run):
    said = run(
        f"""
        import sys, numpy
        before = set(sys.modules)
        import pyfq
        new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
        print(*new - sys.stdlib_module_names - {{"numpy", "pyfq"}}, *new & {HEAVY})
        """
    )
    assert said == ""


@needs_openmp
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_after_a_kernel(run):
    said = run(
        """
        import multiprocessing
        from concurrent.futures import ThreadPoolExecutor
        import numpy as np
        import pyfq

        w = np.random.default_rng(0).standard_normal((1000, 2000), np.float32)

        def work(threads):
            with pyfq.num_threads(threads):
                return pyfq.quantize(w, 4).packed.tobytes()

        want = work(2)
        with ThreadPoolExecutor(2) as pool:
            assert set(pool.map(work, [2, 3])) == {want}
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert set(pool.map_async(work, [1, 2, 3, 2]).get(timeout=60)) == {want}
        assert work(2) == want
        print("done")
        """
    )
    assert said.endswith("done")


def test_spawn_after_a_kernel(run):
    said = run(
        """
        import multiprocessing
        import numpy as np
        import pyfq

        def work(threads):
            w = np.random.default_rng(0).standard_normal((1000, 500), np.float32)
            with pyfq.num_threads(threads):
                return pyfq.quantize(w, 4).packed.tobytes()

        if __name__ == "__main__":
            want = work(2)
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                assert set(pool.map_async(work, [1, 2]).get(timeout=60)) == {want}
            print("done")
        """
    )
    assert said.endswith("done")


def test_kernels_release_the_gil():
    """Another thread goes on during a call, which it could not if the call kept the GIL."""
    finished = threading.Event()
    ticks = during = 0

    def work():
        nonlocal during
        seconds = 0.0
        x = np.random.default_rng(0).standard_normal((4, 2**15))
        with pyfq.num_threads(1):
            while seconds < 0.25:  # until the call is long beside a tick
                x = np.concatenate([x, x])
                before, start = ticks, time.perf_counter()
                pyfq.select_kth(x, 99, granularity=pyfq.PerRow())
                seconds = time.perf_counter() - start
                during = ticks - before
        finished.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not finished.wait(0.001):
        ticks += 1
    thread.join()
    assert during > 2


def test_results_are_equal_from_many_threads():
    x = np.random.default_rng(0).standard_normal((500, 3001), np.float32)

    def work(threads):
        with pyfq.num_threads(threads):
            quantized = pyfq.quantize(x, 5, rounding="stochastic", seed=1)
            return (
                quantized.packed.tobytes(),
                quantized.scale.tobytes(),
                pyfq.prune_ratio(x, 0.6).weights.tobytes(),
                pyfq.select_kth(x, 10**6).item(),
                pyfq.distortion(x, quantized.dequantize()),
            )

    want = work(1)
    with ThreadPoolExecutor(6) as pool:
        assert all(got == want for got in pool.map(work, 3 * [1, 2, 3]))


@pytest.mark.parametrize("isa", CONFIG["isas runnable"])
def test_pyfq_isa_forces_a_variant(run, isa):
    script = """
        import numpy as np, pyfq, sys
        assert pyfq.quantize(np.eye(3), 8).codes[0, 0] == 127
        print(pyfq.isa, *(name for name in sys.modules if "._isa_" in name))
        """
    assert run(script, PYFQ_ISA=isa) == f"{isa} pyfq._native._isa_{isa}"


def test_pyfq_isa_refuses_an_unknown_word(run):
    said = run("import pyfq", expect=1, PYFQ_ISA="sse9")
    assert f"ImportError: PYFQ_ISA=sse9: this build has {', '.join(CONFIG['isas built'])}" in said


def test_pyfq_isa_that_is_empty_is_unset(run):
    assert run("import pyfq; print(pyfq.isa)", PYFQ_ISA="") == CONFIG["isa"]


def test_pyfq_isa_is_one_line_of_the_command(tmp_path):
    script = tmp_path / "pyfq"
    script.write_text("import sys\nfrom pyfq.cli import main\nsys.exit(main())\n")
    for start in (["-P", script], ["-P", "-m", "pyfq"]):
        said = subprocess.run(
            [sys.executable, *start, "info"],
            env=os.environ | {"PYFQ_ISA": "avx2\n"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 1
        built = ", ".join(CONFIG["isas built"])
        assert said.stderr == f"pyfq: error: PYFQ_ISA=avx2\\n: this build has {built}\n"


@needs_dispatch
def test_pyfq_isa_refuses_what_the_cpu_lacks(run):
    script = """
        import sys, types
        sys.modules["pyfq._native._cpu"] = types.SimpleNamespace(levels=lambda: ("v3", "base"))
        import pyfq
        print(pyfq.isa)
        """
    assert run(script) == "v3"
    said = run(script, expect=1, PYFQ_ISA="v4")
    assert "ImportError: PYFQ_ISA=v4: this CPU runs only v3, base" in said


@needs_openmp
def test_omp_num_threads_is_honoured(run):
    assert run("import pyfq; print(pyfq.get_num_threads())", OMP_NUM_THREADS="3") == "3"


def test_num_threads_nests():
    outside = pyfq.get_num_threads()
    with pyfq.num_threads(5):
        with pytest.raises(KeyError), pyfq.num_threads(2):
            assert pyfq.get_num_threads() == 2
            raise KeyError
        assert pyfq.get_num_threads() == 5
    assert pyfq.get_num_threads() == outside


def test_num_threads_is_of_one_python_thread():
    with ThreadPoolExecutor(1) as pool:
        outside = pool.submit(pyfq.get_num_threads).result()
        with pyfq.num_threads(outside + 1):
            assert pool.submit(pyfq.get_num_threads).result() == outside


def test_set_num_threads_is_of_all_python_threads():
    with ThreadPoolExecutor(1) as pool:
        try:
            pyfq.set_num_threads(7)
            assert pool.submit(pyfq.get_num_threads).result() == 7
        finally:
            pyfq.set_num_threads(None)


@pytest.mark.parametrize(
    "n, error", [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_num_threads_refuses(n, error):
    with pytest.raises(error, match="n must be"):
        pyfq.set_num_threads(n)
    with pytest.raises(error, match="n must be"), pyfq.num_threads(n):
        pass


def test_interrupts_come_out_of_what_takes_long():
    """Between two tensors, batches or layers; no step hides them."""

    def interrupted(*_):
        signal.raise_signal(signal.SIGINT)

    w = np.random.default_rng(0).standard_normal((8, 12))
    network = pyfq.Network.create((12, 6, 3), dtype=np.float64)
    small = network.map_weights(lambda w: pyfq.quantize(w, 8))
    for call in (
        lambda: pyfq.allocate_bits({"w": w}, 8.0, quantizer=interrupted),
        lambda: pyfq.allocate_bits({"w": w}, 8.0, sensitivity=interrupted),
        lambda: pyfq.svd_lowrank(w, 2, residual=interrupted),
        lambda: network.map_weights(interrupted),
        lambda: small.calibrate(interrupted() for _ in range(1)),
        lambda: pyfq.evaluate(network, w, np.zeros(8, int), teacher=interrupted),
        lambda: pyfq.distill(interrupted, network, w),
    ):
        with pytest.raises(KeyboardInterrupt):
            call()
