"""nbgrader as the system of record: the course folder, the gradebook, one submission at a time, safe to kill.

A submission's results are written to a folder of their own in ``.mlsys/staged``, which appears whole or not at all;
its grades and its journal entry enter the gradebook in one transaction; then the folder's parts are renamed to their
places. ``recover`` takes up whatever a killed run had staged.
"""

import contextlib
import hashlib
import logging
import shutil
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbgrader.converters import GenerateAssignment
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from traitlets.utils.importstring import import_item

from mlsys_course.substrate.errors import CourseProblem

from ..course import Course, load_course
from ..feedback import Pages, grades_of, hand_out, pages_of, read_recorded
from ..lock import only_one
from ..nbgrader_config import CONFIG_FILE, COURSE_FOLDER_CONFIG, folder_config, gradebook_url
from ..term import Plan
from ..untrusted import PlainFormatter
from .gradebook import Book, Entry
from .handed_in import HandedIn

PLACES = ("submitted", "autograded", "logs")  # staged/<x>/<part> goes to <part>/<student>/<lab>
READ_ONLY = 0o444  # nbgrader's for what is graded


class RecordError(CourseProblem):
    """nbgrader and our verdict disagree, or nbgrader refused; the log says more."""


class Recorder:
    """A course folder in nbgrader's layout: ``source/``, ``submitted/``, ``autograded/``, ``gradebook.db``.

    One at a time for each lab; raises Busy where another process has it.
    """

    def __init__(self, root: Path, stem: str):
        self.root, self.stem = root.resolve(), stem
        self.hidden = self.root / ".mlsys"
        self.staged, self.trash = self.hidden / "staged" / stem, self.hidden / "trash"
        self.hidden.mkdir(parents=True, exist_ok=True)
        self._open = contextlib.ExitStack()
        self._pages: Pages | None = None

    def __enter__(self) -> "Recorder":
        with self._open as opened:
            opened.enter_context(only_one(self.hidden / f"{self.stem}.lock", f"grading {self.stem} in {self.root}"))
            self._prepare()
            opened.callback(self._close)
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _prepare(self) -> None:
        config = self.root / CONFIG_FILE
        if not config.exists():
            config.write_text(COURSE_FOLDER_CONFIG, encoding="utf-8")
        self.log = logging.getLogger(f"mlsys.nbgrader.{self.stem}.{id(self)}")
        self.log.propagate = False
        handler = logging.FileHandler(self.hidden / "nbgrader.log")
        handler.setFormatter(PlainFormatter())
        self.log.handlers = [handler]
        self.config = folder_config(self.root)
        self.book = Book(gradebook_url(self.root, self.config), self.config, self.log)

    def _close(self) -> None:
        self.book.close()
        for handler in self.log.handlers:
            handler.close()

    def follow(self, plan: Plan) -> None:
        """Let the term say what lateness costs."""
        self.book.follow(plan.late)

    def announce(self, plan: Plan) -> None:
        """Tell the gradebook when the lab is due, and let penalties follow.

        Where the term does not say, what is set there by hand stays.
        """
        if (due := plan.labs[self.stem].due) is not None:
            self.book.set_due(self.stem, due)
        self.book.renew_penalties(self.stem)

    def generate(self, solution: nbformat.NotebookNode, edition: Path) -> None:
        """Put the assignment into the gradebook, once; again when the released notebook has changed."""
        source, release = self.root / "source" / self.stem, self.root / "release" / self.stem
        released = edition / f"{self.stem}.ipynb"
        there = release / f"{self.stem}.ipynb"
        same = there.is_file() and nbformat.read(there, 4).cells == nbformat.read(released, 4).cells
        if same and self.book.has_assignment(self.stem):
            return
        if source.exists():
            shutil.rmtree(source)
        shutil.copytree(edition, source, ignore=shutil.ignore_patterns("*.ipynb", "__pycache__"))
        nbformat.write(solution, source / f"{self.stem}.ipynb")
        self._convert(GenerateAssignment, "")

    def stage(self, entry: Entry, handed: HandedIn, notebook: str, log: str, *, copy: bool) -> Path:
        """Write all that a graded submission leaves on disk to one folder, whole or not at all.

        With ``copy`` the submission itself too: where it was handed in is not this course folder's ``submitted/``.
        """
        writing = self.hidden / "writing" / uuid.uuid4().hex
        graded = writing / "autograded"
        handed.copy_to(graded, self.stem)
        if copy:
            handed.copy_to(writing / "submitted", self.stem)
        (graded / f"{self.stem}.ipynb").write_text(notebook, encoding="utf-8")
        for path in (p for p in graded.rglob("*") if p.is_file()):
            path.chmod(READ_ONLY)
        (writing / "logs").mkdir()
        (writing / "logs" / "log.txt").write_text(log, encoding="utf-8")
        (writing / "entry.json").write_text(entry.to_json(), encoding="utf-8")
        (writing / "timestamp").write_bytes(handed.timestamp)
        folder = self.staged / entry.student
        self._discard(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        writing.rename(folder)
        return folder

    def commit(self, folder: Path) -> Entry:
        """The staged grades and their journal entry, in one transaction; see that they are exactly our scores."""
        entry = Entry.from_json((folder / "entry.json").read_text(encoding="utf-8"))
        staged, placed = (
            place / f"{self.stem}.ipynb" for place in (folder / "autograded", self.place("autograded", entry.student))
        )
        notebook = _recorded(staged if staged.is_file() else placed)
        assert notebook is not None
        with _quiet():
            self.book.save(entry, notebook, _timestamp(folder), _recorded(placed))
        for name, (saved, scored) in self._other_scores(entry).items():
            raise RecordError(f"{entry.student}, {name}: the gradebook has {saved}, scored {scored:g}")
        return entry

    def publish(self, folder: Path) -> None:
        """Rename what is staged to its places. Done halfway, it can be done again."""
        for part in PLACES:
            if (folder / part).is_dir():
                target = self.place(part, folder.name)
                self._discard(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                (folder / part).rename(target)
        self._discard(folder)

    def place(self, part: str, student: str) -> Path:
        """Where nbgrader has a student's folder for this lab, such as ``autograded/ann/lab02_attention``."""
        return self.root / part / student / self.stem

    def recover(self) -> list[str]:
        """Finish what a killed run had staged: its score was decided. Returns the students."""
        for half in (self.hidden / "writing", self.trash):
            shutil.rmtree(half, ignore_errors=True)
        finished = []
        for folder in sorted(self.staged.iterdir()) if self.staged.is_dir() else []:
            try:
                self.commit(folder)
                self.publish(folder)
                finished.append(folder.name)
            except Exception:  # the gradebook is another one now, say; the submission itself is graded again
                self.log.exception("staged results of %s were dropped", folder.name)
                self._discard(folder)
        return finished

    def done(self, handed: HandedIn, *, unsafe: bool) -> Entry | None:
        """The journal's entry where this very submission was graded, not less safely, and all is in place."""
        entry = self.book.entry(self.stem, handed.student)
        if entry is None or entry.submission != handed.digest or (entry.run.get("unsafe") and not unsafe):
            return None
        return None if self.differs(entry) else entry

    def differs(self, entry: Entry) -> str:
        """How gradebook or folder differ from the journal; empty where all is as graded."""
        path = self.place("autograded", entry.student) / f"{self.stem}.ipynb"
        if not path.is_file():
            return f"{path.relative_to(self.root)} is missing"
        if digest_of(path.read_bytes()) != entry.notebook:
            return f"{path.relative_to(self.root)} is not the file that was graded"
        wrong = self._other_scores(entry)
        return f"the gradebook has other scores for {', '.join(wrong)}" if wrong else ""

    def _other_scores(self, entry: Entry) -> dict[str, tuple[float | None, float]]:
        """By exercise, what the gradebook has where that is not what was scored."""
        saved = self.book.scores(self.stem, entry.student)
        pairs = {name: (saved.get(name), verdict["counted"][0]) for name, verdict in entry.scores.items()}
        return {name: (found, scored) for name, (found, scored) in pairs.items() if found != scored}

    def feedback(self, student: str, course: Course | None = None) -> Path:
        """Write a student's page where nbgrader puts feedback; its path. Left alone where it says so already.

        ``course`` is the one that the page names; default: the one that is found from here.
        """
        if self._pages is None:
            self._pages = pages_of(course or load_course(), self.root, self.stem)
        notebook = read_recorded(self.place("autograded", student) / f"{self.stem}.ipynb")
        with self.book.transaction() as book:
            grades = grades_of(book, self.stem, student)
        page = self._pages.page(notebook, grades)
        return hand_out(self.place("feedback", student), self.stem, page, self.place("submitted", student))

    def students(self) -> list[str]:
        """Students whose submission of this lab is in the gradebook."""
        return self.book.students(self.stem)

    def _discard(self, folder: Path) -> None:
        """Take a folder away at once; a half-deleted one is never seen."""
        if folder.exists():
            self.trash.mkdir(parents=True, exist_ok=True)
            gone = self.trash / uuid.uuid4().hex
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _convert(self, kind: type, student: str) -> None:
        """One nbgrader converter on one student. Lists of classes are named in the configuration as text."""
        coursedir = CourseDirectory(config=self.config)
        coursedir.root, coursedir.db_url = str(self.root), self.book.url
        coursedir.assignment_id, coursedir.student_id = self.stem, student
        converter = kind(coursedir=coursedir, config=self.config, log=self.log)
        converter.force = True
        classes = getattr(converter, "preprocessors", [])
        converter.preprocessors = [import_item(c) if isinstance(c, str) else c for c in classes]
        try:
            with _quiet():
                converter.start()
        except (NbGraderException, SystemExit) as error:
            log = self.hidden / "nbgrader.log"
            raise RecordError(f"nbgrader refused {student or 'the assignment'}: {error}; see {log}") from error


def digest_of(data: bytes) -> str:
    """Names a file's content."""
    return hashlib.sha256(data).hexdigest()


def _recorded(path: Path) -> nbformat.NotebookNode | None:
    """A notebook that grading wrote; None where it is gone, or cut short by somebody else."""
    try:
        return nbformat.v4.reads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _timestamp(folder: Path) -> bytes:
    return (folder / "timestamp").read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """nbgrader's own use of its database and of nbconvert warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
