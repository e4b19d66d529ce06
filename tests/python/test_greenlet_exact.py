"""Corners of a greenlet's life that only hostile programs reach."""

import subprocess
import sys
import textwrap

import pytest


@pytest.fixture(params=["dedicated", "slice"])
def run_child(request):
    def run(code):
        head = (
            "from coir import greenlet as api\n"
            f"api.set_stack_policy({request.param!r})\n"
            "from coir.greenlet import getcurrent, greenlet\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", head + textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
        return done.stdout

    return run


def test_finalizer_of_a_failed_parent_starts_the_next(run_child):
    """The end of `child` leads to `middle`, which cannot start and loses its
    last reference on the way; its finalizer starts `top`, whose turn it is."""
    out = run_child("""
        main = getcurrent()
        log = []

        def top_body(*args):
            log.append("top")

        top = greenlet(top_body)

        class Middle(greenlet):
            @property
            def run(self):
                child.parent = main
                del self  # or the traceback keeps it
                raise ValueError("no run")

            def __del__(self):
                log.append("del")
                top.switch()

        child = greenlet(lambda: None, Middle(parent=top))
        child.switch()  # top ends here, while child waits in __del__
        try:
            child.switch()
        except ValueError as e:
            log.append(str(e))
        assert getcurrent() is main
        print(log, top.dead, child.dead)
        """)
    assert out == "['del', 'top', 'no run'] True True\n"


def test_no_memory_for_an_instance_with_a_finalizer(run_child):
    """A finalizer may look at any instance that it gets."""
    pytest.importorskip("_testcapi")
    out = run_child("""
        import _testcapi

        class Sub(greenlet):
            def __del__(self):
                self.dead, self.parent, bool(self), repr(self)

        keep = [greenlet() for _ in range(2000)]
        made = failed = 0
        for n in range(60):
            _testcapi.set_nomemory(n, n + 1)
            try:
                keep.append(Sub())
                made += 1
            except MemoryError:
                failed += 1
            finally:
                _testcapi.remove_mem_hooks()
        print(made > 0, failed > 0)
        """)
    assert out == "True True\n"
