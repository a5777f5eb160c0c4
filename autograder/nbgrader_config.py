"""nbgrader on our engine: the configuration that ``mlsys grade``, ``nbgrader autograde`` and formgrader share.

A course folder's own ``nbgrader_config.py`` is three lines:

    from autograder.nbgrader_config import configure
    c = get_config()
    configure(c)
"""

from pathlib import Path

from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from .errors import CourseError

CONFIG_FILE = "nbgrader_config.py"
GRADEBOOK = "gradebook.db"
SECRET = "submission_secret.txt"  # nbgrader's exchange names the student's feedback by it
COURSE_FOLDER_CONFIG = '''"""nbgrader in this folder grades on the sealed engine, by hand or by formgrader's buttons."""

from autograder.nbgrader_config import configure

c = get_config()  # noqa: F821
configure(c)
'''


def configure(c: Config) -> Config:
    """Set nbgrader's extension points; everything else stays as nbgrader has it."""
    c.CourseDirectory.course_id = ""
    c.Autograde.exporter_class = "autograder.grade.execute.RepairingExporter"
    c.Autograde.pre_convert_hook = "autograder.grade.quarantine.before_autograde"
    # No ClearOutput: the exporter keeps what was handed in, with nothing active in it.
    c.Autograde.sanitize_preprocessors = [
        "nbgrader.preprocessors.DeduplicateIds",
        "nbgrader.preprocessors.OverwriteKernelspec",
        "nbgrader.preprocessors.OverwriteCells",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    # SealedExecute writes each graded cell's result; nothing after it may change outputs before they are saved.
    c.Autograde.autograde_preprocessors = [
        "autograder.grade.execute.SealedExecute",
        "autograder.grade.bonus.SaveGrades",
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    c.AssignLatePenalties.plugin_class = "autograder.grade.late_plugin.CoursePolicy"
    # Generate: our build writes the student's notebook; nbgrader saves its cells to the gradebook.
    c.GenerateAssignment.preprocessors = [
        "autograder.grade.execute.BuiltEdition",
        "nbgrader.preprocessors.SaveCells",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    # Feedback: our page, by hand and by formgrader's button too.
    c.GenerateFeedback.exporter_class = "autograder.feedback.exporter.FeedbackExporter"
    c.GenerateFeedback.preprocessors = []
    c.HTMLExporter.sanitize_html = True  # formgrader shows students' text
    return c


def folder_config(course: Path) -> Config:
    """Our configuration, with what the course folder's own file sets on top."""
    config = configure(Config())
    if (course / CONFIG_FILE).is_file():
        config.merge(PyFileConfigLoader(CONFIG_FILE, str(course)).load_config())
    return config


def gradebook_url(course: Path, config: Config) -> str:
    """Where a course folder's gradebook is. CourseError where its configuration says otherwise."""
    check_gradebook(config.CourseDirectory.get("db_url"), course)
    return f"sqlite:///{course / GRADEBOOK}"


def check_gradebook(url: object, course: Path) -> None:
    """CourseError where a gradebook is another than the course folder's own: half of all commands would not see it."""
    own = (f"sqlite:///{course / GRADEBOOK}", f"sqlite:///{course.resolve() / GRADEBOOK}")
    if isinstance(url, str) and url and url not in own:
        raise CourseError(
            f"CourseDirectory.db_url is set, in {course / CONFIG_FILE} or in nbgrader's configuration for this user, "
            f"and grades are kept in {course / GRADEBOOK} only, by every command; take that line out"
        )


def check_folder(course: Path) -> None:
    """The same of a course folder, before anything in it is touched."""
    if (course / CONFIG_FILE).is_file():
        gradebook_url(course, folder_config(course))
