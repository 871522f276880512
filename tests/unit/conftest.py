"""What several test files build once."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bench's programs, compiled; and one more load generator, which gives up after a second."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler: cc")
    folder = tmp_path_factory.mktemp("programs")
    subprocess.run([ROOT / "bench" / "compile", folder], check=True)
    (folder / "hasty").mkdir()
    hasty = ["cc", "-std=c17", "-DPATIENCE=1", "-o", str(folder / "hasty" / "load"), str(ROOT / "bench" / "load.c")]
    subprocess.run(hasty, check=True)
    return folder
