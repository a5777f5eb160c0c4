"""Whether each lab of a term finds in its edition what its notebook and drivers import."""

from pathlib import Path

from ..errors import CourseError
from .editions import imported, withheld
from .syllabus import LabPlan, Plan


def check_needs(plan: Plan, solutions: Path) -> None:
    """CourseError where a lab imports a component that its own edition withholds, with the line to change."""
    taught = {stem: lab.component for stem, lab in plan.labs.items()}
    for stem, lab in plan.labs.items():
        left_out = set(withheld(taught, stem, lab.withholds))
        for name in (f"{stem}.py", "drivers.py"):
            path = solutions / stem / name
            if path.is_file():
                for component in sorted(imported(path.read_text(encoding="utf-8")) & left_out):
                    raise _missing(plan, lab, path, component)


def _missing(plan: Plan, lab: LabPlan, path: Path, component: str) -> CourseError:
    said = f"{lab.where}: {path.name} of {lab.stem} imports mlsys_course.{component}, which its edition withholds"
    asks = next((other for other in plan.labs.values() if other.component == component), None)
    if lab.withholds is not None and component in lab.withholds and component != lab.component:
        return CourseError(f"{said}; take it out of `withholds`")
    if asks is None:
        return CourseError(f"{said}, since it imports what students are to write; leave that import out of the lab")
    whose = "this lab itself" if asks is lab else asks.stem
    return CourseError(f"{said}, since {whose} asks for it; import components of earlier labs only")
