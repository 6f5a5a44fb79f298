// The site in a headless Chromium, run by hand after ./run_all.sh site:
//
//     npm install --prefix build/browser --ignore-scripts puppeteer-core axe-core
//     NODE_PATH=build/browser/node_modules node tests/site_in_browser.cjs [PATTERN_OF_PATHS]
//
// CHROMIUM names the browser, by default /usr/bin/chromium.  Every page is opened from its file and must raise no error and lack
// no file; at 400 and at 1400 pixels it must be no wider than the window and pass axe (WCAG 2.2, A and AA).  Then the search is
// used by the keyboard alone, and each demonstration is moved.  Pictures of the pages go to build/browser/pictures.
"use strict";

const fs = require("fs"), path = require("path"), puppeteer = require("puppeteer-core");

const root = path.resolve(__dirname, "..", "build", "site"), pictures = path.resolve(__dirname, "..", "build", "browser", "pictures");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const RULES = { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], resultTypes: ["violations"], preload: false };

const pages = fs.readdirSync(root, { recursive: true }).filter((file) => file.endsWith(".html") && file.match(process.argv[2] || ""));
const faults = [];
const settled = (page) => page.evaluate(() => new Promise((done) => setTimeout(done, 150)));

async function opened(browser, file, width) {
  const page = await browser.newPage(), fault = (what) => faults.push(`${file}: ${what}`);
  page.setDefaultTimeout(0);
  await page.setViewport({ width, height: 900 });
  page.on("pageerror", (error) => fault(error.message));
  page.on("console", (message) => message.type() === "error" && fault(message.text()));
  page.on("requestfailed", (request) => fault(`missing ${request.url()}`));
  await page.goto(`file://${path.join(root, file)}`);
  await settled(page);
  return [page, fault];
}

async function checked(browser, file) {
  const [page, fault] = await opened(browser, file, 400);
  await page.evaluate(() => document.querySelectorAll("details.claim").forEach((each) => { each.open = true; }));
  await page.evaluate(() => Promise.all([...document.images].map((each) => { each.loading = "eager"; return each.decode(); })));
  await page.evaluate(axe);
  for (const width of [400, 1400]) {
    await page.setViewport({ width, height: 900 });
    await settled(page);
    const wide = await page.evaluate(() => document.scrollingElement.scrollWidth);
    if (wide > width) fault(`${wide} pixels wide at ${width}`);
    const { violations } = await page.evaluate((rules) => axe.run(rules), RULES);
    for (const { id, nodes } of violations) fault(`at ${width}, axe ${id}, ${nodes.length} times, as in ${nodes[0].html.slice(0, 160)}`);
    await page.screenshot({ path: path.join(pictures, `${file.replaceAll("/", "_")}_${width}.png`), fullPage: true });
  }
  await page.close();
}

async function searched(browser) {
  const [page, fault] = await opened(browser, "index.html", 1400);
  await page.keyboard.press("/");
  await page.keyboard.type("hologram");
  await page.waitForSelector("#found a");
  await page.keyboard.press("Tab");
  const [link] = await Promise.all([page.evaluate(() => document.activeElement.href), page.waitForNavigation(), page.keyboard.press("Enter")]);
  if (!link || !page.url().startsWith(link.split("#")[0])) fault(`the search led to ${page.url()}, not to ${link}`);
  await page.close();
}

async function moved(browser, file) {
  const [page, fault] = await opened(browser, file, 1400);
  await page.waitForFunction(() => document.querySelector("#said").value.includes(":"));
  if (await page.$("progress")) await page.waitForFunction(() => document.querySelector("progress").value === 1);
  const said = () => page.evaluate(() => document.querySelector("main").innerText), before = await said();
  await page.focus("input[type=range]");
  for (let press = 0; press < 9; press++) await page.keyboard.press("ArrowLeft");
  for (let press = 0; press < 3; press++) await page.keyboard.press("ArrowRight");
  await settled(page);
  if ((await said()) === before) fault("nothing changed when its first slider was moved");
  await page.close();
}

(async () => {
  fs.mkdirSync(pictures, { recursive: true });
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium", timeout: 0, protocolTimeout: 0, args: ["--no-sandbox"],
  });
  for (const file of pages) await checked(browser, file);
  if (!process.argv[2]) await searched(browser);
  for (const file of pages) if (file.startsWith("demos/") && !file.endsWith("index.html")) await moved(browser, file);
  await browser.close();
  faults.forEach((fault) => console.log(fault));
  console.log(`${pages.length} pages, ${faults.length} faults`);
  process.exit(faults.length ? 1 : 0);
})();
