"""The page in headless Chromium, where one is installed: a CSV, a text, and a word from a microphone that beeps."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import time

import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
TOKEN = "a-token-of-the-tests"
CSV = "when,load\n" + "\n".join(f"hour {i},{np.sin(i / 4) + 2:.4f}" for i in range(200))
DROP = """
{
const data = new DataTransfer();
data.items.add(new File([%s], "mine.csv", {type: "text/csv"}));
document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, cancelable: true}));
}
"""


class Page:
    """A tab, by the protocol of Chromium's developer tools."""

    def __init__(self, socket):
        self.socket, self.numbers = socket, itertools.count(1)

    def call(self, method, **parameters):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv(timeout=60))).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script, pattern, seconds=60):
        end = time.monotonic() + seconds
        while not re.search(pattern, value := str(self.run(script)), re.S):
            assert time.monotonic() < end, f"expected {pattern!r}, got {value!r}"
            time.sleep(0.1)
        return value

    def open(self, address):
        self.call("Page.navigate", url=address)
        self.until("document.readyState + location.href", f"complete{re.escape(address)}")

    def picture(self):
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chromium")
    fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
    with (folder / "log").open("wb") as log:
        browser = subprocess.Popen([BROWSER, *options, *fakes, "about:blank"], stderr=log)
    try:
        while not (found := re.search(r"ws://(127\.0\.0\.1:\d+)/", (folder / "log").read_text(errors="replace"))):
            assert browser.poll() is None, (folder / "log").read_text(errors="replace")
            time.sleep(0.05)
        tabs = httpx.get(f"http://{found[1]}/json/list").json()
        target = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        with connect(target, max_size=2**25) as socket:
            yield Page(socket)
    finally:
        browser.kill()
        browser.wait()


def test_a_csv_that_is_dropped_is_forecast_and_drawn(page, address):
    page.open(f"http://{address}/")
    blank = page.picture()
    page.run("document.getElementById('period').value = 25")
    page.run(DROP % json.dumps(CSV))
    said = page.until("document.getElementById('account').value", "held-back values")
    assert said.startswith("load, by ") and "MSE on" in said
    drawn = "[...document.getElementById('plot').getContext('2d').getImageData(0, 0, 900, 300).data].some((x) => x)"
    assert page.run(drawn) and page.picture() != blank
    page.run(DROP % json.dumps("a,b\nx,y"))
    page.until("document.getElementById('account').value", "expected a header and at least one column of numbers")


def test_a_prompt_is_continued(page, address):
    page.open(f"http://{address}/")
    page.run("document.getElementById('prompt').value = 'abc'; document.getElementById('write').click()")
    assert page.until("document.getElementById('text').value", "^abc.{200}$").startswith("abc")


def test_sound_of_a_microphone_is_classified(page, address):
    page.open(f"http://{address}/")
    page.run("document.getElementById('speak').dispatchEvent(new PointerEvent('pointerdown'))")
    page.until("document.getElementById('word').value", r"^(no|yes|other)  \(\d+%, \d\d+ frames")
    page.run("document.getElementById('speak').dispatchEvent(new PointerEvent('pointerup'))")


def test_the_token_is_asked_for_and_sent(page, service, models):
    with service(models, token=TOKEN) as address:
        page.open(f"http://{address}/")
        page.run("document.getElementById('write').click()")
        page.until("document.getElementById('text').value", "expected the access token")
        page.run(f"document.getElementById('token').value = '{TOKEN}'")
        page.run("document.getElementById('prompt').value = 'abc'; document.getElementById('write').click()")
        page.until("document.getElementById('text').value", "^abc.{200}$")
        page.run("document.getElementById('speak').dispatchEvent(new PointerEvent('pointerdown'))")
        page.until("document.getElementById('word').value", r"\d frames")
        page.run("document.getElementById('speak').dispatchEvent(new PointerEvent('pointerup'))")
