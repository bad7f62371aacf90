"""A script that would start itself again in its workers ends in one line, before there are any."""

import subprocess
import sys
from pathlib import Path

import pytest

CALL = "from djservice.on_dask.script_guard import need_guarded_script as run\n"
SCRIPTS = {
    "run()": 1,
    "def main():\n    run()\nmain()": 1,
    "if 1 > 0:\n    run()": 1,
    "try:\n    run()\nfinally:\n    pass": 1,
    'run()\nif __name__ == "__main__":\n    pass': 1,
    'if __name__ == "__main__":\n    run()': 0,
    'def main():\n    run()\nif "__main__" == __name__:\n    main()': 0,
    'import sys\nif __name__ != "__main__":\n    sys.exit()\nrun()': 0,
    'exec(compile("run()", "page", "exec"), {"run": run})': 1,
    "from threading import Thread\nThread(target=run).start()": 0,
}


def test_a_script_without_a_guard_ends_in_one_line(tmp_path: Path) -> None:
    """All scripts in one process, each as `__main__`; and one as it is started by a user."""
    program = (
        "import runpy, sys\nfrom pathlib import Path\nimport types\n"
        "for path in sys.argv[1:]:\n"
        "    main = types.ModuleType('__main__')\n    main.__file__ = path\n"
        "    sys.modules['__main__'] = main\n"
        "    try:\n        exec(compile(Path(path).read_text(), path, 'exec'), main.__dict__)\n"
        "        print(0)\n"
        "    except SystemExit as end:\n        print(1 if end.code else 0, end.code)\n"
    )
    paths = []
    for number, text in enumerate(SCRIPTS):
        paths.append(tmp_path / f"{number}.py")
        paths[-1].write_text(CALL + text + "\n")
    done = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    for line, (text, code) in zip(lines, SCRIPTS.items(), strict=True):
        assert line[0] == str(code), (text, line)
        assert code == 0 or 'Put the call under `if __name__ == "__main__":`' in line
    alone = subprocess.run([sys.executable, paths[0]], capture_output=True, text=True)
    assert (alone.returncode, alone.stderr.count("\n")) == (1, 1)
    assert alone.stderr.startswith(f"djservice: {paths[0]}, line 2: ")


@pytest.mark.parametrize(
    "code", ["from djservice.on_dask.script_guard import *; need_guarded_script()"]
)
def test_a_command_line_is_no_script(code: str) -> None:
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
