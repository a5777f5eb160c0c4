"""Extensions in nbgrader's gradebook: a graded cell of no points, whose score is added to the others' all the same."""

from typing import Any

from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader.preprocessors import SaveAutoGrades
from nbgrader.utils import determine_grade

from ..scoring.cells import grade_id


def automatic_score(cell: NotebookNode) -> float | None:
    """What the gradebook is to have for a graded cell. nbgrader itself refuses more than the cell's points."""
    if cell.cell_type == "code" and not cell.metadata["nbgrader"]["points"]:
        for output in cell.outputs:
            if output.output_type == "execute_result":
                return float(output.data["text/plain"])
    return determine_grade(cell)[0]


class SaveGrades(SaveAutoGrades):
    """nbgrader's own stage, bonus included."""

    def _add_score(self, cell: NotebookNode, resources: ResourcesDict) -> None:
        if cell.metadata["nbgrader"]["points"]:
            super()._add_score(cell, resources)
            return
        place = (self.notebook_id, self.assignment_id, self.student_id)
        grade: Any = self.gradebook.find_grade(grade_id(cell), *place)
        grade.auto_score = automatic_score(cell)
        grade.needs_manual_grade = grade.manual_score is not None
        self.gradebook.db.commit()
