"""``nbgrader generate_feedback`` and formgrader's button write the same page."""

from pathlib import Path
from typing import Any

from nbconvert.exporters import Exporter
from nbgrader.api import Gradebook
from traitlets import default

from ..course import load_course
from ..nbgrader_config import check_gradebook
from .course_folder import pages_of, read_recorded
from .grades import grades_of
from .pages import Pages


class FeedbackExporter(Exporter):
    """From a recorded notebook to its student's page, as one of nbgrader's converters calls it."""

    output_mimetype = "text/html"

    @default("file_extension")
    def _file_extension_default(self) -> str:
        return ".html"

    def from_filename(self, filename: str, resources: dict | None = None, **kwargs: Any) -> tuple[Any, dict]:
        resources = {} if resources is None else resources
        about = resources["nbgrader"]
        stem = about["assignment"]
        converter: Any = self.parent
        check_gradebook(about["db_url"], Path(converter.coursedir.root))
        with Gradebook(about["db_url"]) as book:
            grades = grades_of(book, stem, about["student"])
        page = self._pages(stem).page(read_recorded(Path(filename)), grades)
        return page, {**resources, "output_extension": self.file_extension}

    def _pages(self, stem: str) -> Pages:
        """Made once: a converter makes one exporter, for one lab."""
        if not hasattr(self, "_made"):
            converter: Any = self.parent
            self._made = pages_of(load_course(), Path(converter.coursedir.root), stem)
        return self._made
