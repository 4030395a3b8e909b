"""What pyproject.toml cannot say: ``conf/`` is beside the package here, inside it in a wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConf(build_py):
    """Copies ``conf/`` to where the installed package looks for it."""

    def run(self) -> None:
        """Build, and leave no yaml of an earlier build behind."""
        super().run()
        if not self.editable_mode:
            inside = Path(self.build_lib, "benchmark", "conf")
            shutil.rmtree(inside, ignore_errors=True)
            shutil.copytree("conf", inside)


setup(cmdclass={"build_py": BuildWithConf})
