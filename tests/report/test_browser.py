"""The page in a real browser: it draws, it fits a phone, it says nothing on the console, and it asks nobody for anything."""

import json
import os
import re
import shutil
import subprocess

import pytest
from runs_in_memory import scores_of

from sb3_infomax.report.analysis import analyse
from sb3_infomax.report.report import write_report
from sb3_infomax.report.sources import gather

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here (Debian: apt-get install chromium)")

# Chromium must not phone home, and cannot: every host name is unknown to it.
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --enable-logging=stderr --v=0"
).split()
EVIL = "<script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">"
# Put into a copy of the page without its own ban of scripts: what a reader would see on a phone of 360 pixels.
MEASURE = """<script>
document.documentElement.style.width = "360px";
const right = node => node.getBoundingClientRect().right;
const inside = ".scroll, pre, svg, details:not([open])";
const visible = [...document.querySelectorAll("body *")].filter(node => !node.closest(inside));
const sizes = [...document.querySelectorAll("figure svg")].map(node => node.getBoundingClientRect());
document.body.dataset.measured = JSON.stringify({
  title: document.title,
  right: Math.max(...visible.map(right)),
  pictures: sizes.map(size => [size.width, size.height]),
  ink: [...document.querySelectorAll("figure svg")].map(node => node.querySelectorAll("path").length),
});
console.error("heard");
new Image().src = "http://asked.invalid/picture.png";
</script></body>"""


def browse(page, folder, *options):
    """Open a page: its document as the browser has it, what the console said, and every address that was asked for."""
    log = folder / "net.json"
    command = [BROWSER, *QUIET, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", *options]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", page.as_uri()]
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console, asked_by_the_page(log)


def asked_by_the_page(log):
    """Addresses in the browser's log of its network that the page asked for: what the browser asks by itself has no origin."""
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    found = {event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin" and "url" in event}
    return {url for url in found if not url.startswith(("file:", "data:"))}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report in which every name wants to run a script."""
    finals = {EVIL: [1, 2, 3, 4, 5], "ppo:n_steps=512+emi:coef=0.1": [6, 7, 8, 9, 10]}
    runs = [run for task in ("A" * 80, "B<b>") for run in scores_of(finals, task)]
    return write_report(analyse(gather(runs), resamples=200), tmp_path_factory.mktemp("report"), title=EVIL)


def test_the_page_opens_in_silence_and_asks_nobody_for_anything(page, tmp_path):
    document, console, asked = browse(page, tmp_path)
    assert console == [] and asked == set()
    assert document.count("<svg") == 10 and "0.778 : 0.222" in document
    assert "caught" not in re.search(r"<title>(.*?)</title>", document)[1].replace("'caught'", "")


def test_pictures_have_a_size_everything_fits_a_phone_and_scripts_in_names_do_nothing(page, tmp_path):
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", MEASURE))
    document, console, asked = browse(copy, tmp_path)
    found = json.loads(re.search(r'data-measured="([^"]*)"', document)[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert found["title"] != "caught"
    assert all(width > 250 and height > 50 for width, height in found["pictures"]) and min(found["ink"]) > 3
    assert found["right"] <= 361
    # the two ways of listening do hear
    assert any("heard" in line for line in console) and asked == {"http://asked.invalid/picture.png"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_drawn_light_or_dark(page, tmp_path, scheme):
    import matplotlib.image

    shot = tmp_path / "page.png"
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    command = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", *dark, "--window-size=900,700"]
    subprocess.run([*command, f"--screenshot={shot}", page.as_uri()], check=True, timeout=240, capture_output=True)
    image = matplotlib.image.imread(shot)[..., :3]
    paper = image[5, 5].mean()
    assert paper < 0.15 if scheme == "dark" else paper > 0.9
    assert abs(image.mean() - paper) > 0.01  # there is something on it
