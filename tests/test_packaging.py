"""The wheel: every package and every data file of the folders is in it."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
FOLDERS = {package: ROOT / folder for package, folder in SETUPTOOLS["package-dir"].items()}


def folder_of(package):
    """Find the folder of a package: that of the longest prefix with a folder, then the rest of the name."""
    prefix = max((one for one in FOLDERS if f"{package}.".startswith(f"{one}.")), key=len)
    return FOLDERS[prefix].joinpath(*package.removeprefix(prefix).split("."))


def test_every_folder_with_modules_is_a_listed_package():
    found = {path.parent for folder in FOLDERS.values() for path in folder.rglob("*.py")}
    assert {folder_of(package) for package in SETUPTOOLS["packages"]} == found
    assert all((folder / "__init__.py").exists() for folder in found)


def test_every_data_file_belongs_to_a_package_that_lists_it():
    listed = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in folder_of(package).glob(pattern)
    }
    files = {path for folder in FOLDERS.values() for path in folder.rglob("*") if path.is_file()}
    assert listed == {path for path in files if path.suffix not in (".py", ".pyc")}
