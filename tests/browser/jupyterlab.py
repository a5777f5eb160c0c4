"""JupyterLab in headless Chromium: open a notebook, run all cells, look.

python -m tests.browser.jupyterlab labs/lab02_attention docs/check.png
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

QUIET = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")


def chromium() -> str | None:
    """Where Chromium is, if it is."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """A JupyterLab of its own on a free port; its address with a token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
        command += [f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=look"]
        settings = Path(home, "@jupyterlab", "apputils-extension")
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
        environment = {**os.environ, "JUPYTER_CONFIG_DIR": home, "JUPYTERLAB_SETTINGS_DIR": home}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait(f"http://127.0.0.1:{port}/api?token=look")
            yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token=look"
        finally:
            process.terminate()
            process.wait(20)


def _wait(address: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                json.load(answer)
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


@contextlib.contextmanager
def run_notebook(folder: Path, name: str, until: str, height: int = 2200) -> Iterator[Page]:
    """A page with the notebook open and all its cells run, once ``until`` is on it."""
    with server(folder) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=list(QUIET))
        page = browser.new_page(viewport={"width": 1250, "height": height})
        page.goto(address.format(name))
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        page.wait_for_selector("text=/Python 3.*Idle/", timeout=90_000)
        page.click("text=Run >> nth=0")
        page.click("text=Run All Cells >> nth=0")
        page.wait_for_selector(f"text={until}", timeout=180_000, state="attached")
        yield page
        browser.close()


def main() -> None:
    folder, picture = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    until = sys.argv[3] if len(sys.argv) > 3 else "Hint:"
    with run_notebook(folder, f"{folder.name}.ipynb", until) as page:
        found = page.locator(f"text={until}").first
        found.scroll_into_view_if_needed()
        page.wait_for_timeout(1500)
        page.screenshot(path=str(picture))


if __name__ == "__main__":
    main()
