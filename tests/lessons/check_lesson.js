// node check_lesson.js URL PICTURE.png
//
// Opens one notebook in JupyterLab in a headless Chromium, clears its outputs, runs every cell as a student would, and
// takes a picture of the whole page. Prints one line of JSON; exits with 1 where a cell failed or was not run, where
// mathematics was not understood, or where the page asked for anything outside this machine.
//
// Needs playwright-core (found through NODE_PATH) and Chromium (CHROMIUM, or `chromium` on the PATH).

const { execSync } = require('child_process');
const { chromium } = require('playwright-core');

const [url, picture] = process.argv.slice(2);
const WIDTH = 1280;
const LONGEST = 16000; // pixels: Chromium paints no taller picture

// These run inside the page.

async function clearAndRun() {
  const app = window.jupyterapp;
  const panel = app.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await app.commands.execute('editmenu:clear-all');
  await app.commands.execute('notebook:run-all-cells');
}

function finished() {
  const panel = window.jupyterapp.shell.currentWidget;
  const code = panel.content.widgets.filter(cell => cell.model.type === 'code');
  const failed = code.some(cell => cell.model.outputs.toJSON().some(output => output.output_type === 'error'));
  const idle = panel.sessionContext.session?.kernel?.status === 'idle';
  return idle && (failed || code.every(cell => cell.model.executionCount));
}

function look() {
  const cells = window.jupyterapp.shell.currentWidget.content.widgets;
  const code = cells.filter(cell => cell.model.type === 'code');
  const outputs = code.flatMap(cell => cell.model.outputs.toJSON());
  const all = selector => [...document.querySelectorAll(selector)];
  return {
    cells: cells.length,
    unrun: code.filter(cell => !cell.model.executionCount).length,
    errors: outputs.filter(o => o.output_type === 'error').map(o => `${o.ename}: ${o.evalue}`),
    warnings: outputs.filter(o => o.name === 'stderr').length,
    figures: all('.jp-RenderedImage img').length,
    pictures: all('.jp-RenderedHTML img').length,
    broken: all('.jp-OutputArea img').filter(image => image.complete && !image.naturalWidth).length,
    math: all('mjx-container').length,
    badMath: all('mjx-merror').length,
  };
}

async function main() {
  const executablePath = process.env.CHROMIUM || execSync('which chromium').toString().trim();
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  const page = await browser.newPage({ viewport: { width: WIDTH, height: 1400 } });
  const outside = [];
  const problems = [];
  page.on('pageerror', error => problems.push(error.message.slice(0, 200)));
  await page.route(address => address.protocol.startsWith('http') && address.hostname !== '127.0.0.1', route => {
    outside.push(route.request().url());
    return route.abort();
  });

  await page.goto(url);
  await page.waitForSelector('.jp-Notebook .jp-Cell', { timeout: 60000 });
  const begun = Date.now();
  await page.evaluate(clearAndRun);
  await page.waitForFunction(finished, null, { timeout: 120000 });
  const ms = Date.now() - begun;
  await page.waitForTimeout(1500); // the last outputs and the mathematics are painted after the kernel is idle
  const seen = { ms, ...(await page.evaluate(look)), outside, problems };
  console.log(JSON.stringify(seen));

  const panel = '.jp-NotebookPanel-notebook';
  await page.$$eval('details', answers => answers.forEach(answer => { answer.open = true; }));
  const height = await page.$eval(`${panel} .jp-WindowedPanel-outer`, element => element.scrollHeight);
  await page.setViewportSize({ width: WIDTH, height: Math.min(LONGEST, height + 120) });
  await page.waitForTimeout(1000);
  await page.$eval(`${panel} .jp-WindowedPanel-outer`, element => { element.scrollTop = 0; });
  await (await page.$(panel)).screenshot({ path: picture });
  await browser.close();
  return seen.unrun || seen.errors.length || seen.warnings || seen.broken || seen.badMath || outside.length ? 1 : 0;
}

main().then(code => process.exit(code), error => { console.error(error); process.exit(2); });
