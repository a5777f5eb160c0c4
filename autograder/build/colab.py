"""The cell that makes a lab run in Google Colab, where a notebook gets a fresh machine."""

import nbformat
from nbformat import NotebookNode

ID = "colab"
CELL = """\
# Only in Google Colab: unpacks the lab's zip that you uploaded, and installs its package. Elsewhere it does nothing.
import sys

if "google.colab" in sys.modules:
    import glob, os, shutil, subprocess

    zips = sorted(glob.glob("{stem}-*.zip"), key=os.path.getmtime)
    if zips and not os.path.isdir("{stem}"):
        shutil.unpack_archive(zips[-1], ".")
    if os.path.isdir("{stem}"):
        os.chdir("{stem}")
    wheels = glob.glob("mlsys_course-*.whl")
    if not wheels:
        raise SystemExit("Upload {stem}-....zip (the folder symbol on the left), then run this cell again.")
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", *wheels], check=True)  # Colab's own torch stays
    subprocess.run([*pip, "jaxtyping", "safetensors", "cloudpickle"], check=True)
"""


def with_colab_cell(notebook: NotebookNode, stem: str) -> NotebookNode:
    """Put the cell before the first code cell, below the lab's opening words; hidden until somebody asks for it."""
    cell = nbformat.v4.new_code_cell(CELL.format(stem=stem).rstrip("\n"))
    cell.id = ID
    cell.metadata = nbformat.from_dict({"cellView": "form", "jupyter": {"source_hidden": True}})
    first = next(i for i, other in enumerate(notebook.cells) if other.cell_type == "code")
    notebook.cells.insert(first, cell)
    return notebook
