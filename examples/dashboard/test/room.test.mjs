// The control room in Chromium, beside the real server and site: what a person would try.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const root = resolve(fileURLToPath(import.meta.url), '../..');
const target = process.env.CARGO_TARGET_DIR ?? resolve(root, '../../target');
const demo = process.env.WARDLINE_DEMO ?? join(target, 'debug/wardline-demo');
const program = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
/** Waited for what comes in a second where nothing else runs; a machine that builds beside it takes its time. */
const LONG = 60_000;
const shots = process.env.SCREENSHOTS;

let child;
let browser;
let url;
before(async () => {
  assert.ok(program, 'Chromium is not installed');
  child = spawn(demo, ['--headless', '--pages', join(root, 'dist'), '--cpu-limit', '101'], { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('dashboard: ')) continue;
    url = line.slice('dashboard: '.length);
    break;
  }
  child.stdout.resume();
  browser = await chromium.launch({ executablePath: program, args: FLAGS });
});
after(async () => {
  await browser?.close();
  const gone = new Promise(done => child.once('exit', done));
  child.kill('SIGINT');
  await gone;
});

async function enter(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1600, height: 900 }, colorScheme: 'dark', ...options });
  context.setDefaultTimeout(LONG);
  const page = await context.newPage();
  const faults = [];
  // The words of a recovery go after a while; what was said is kept.
  await page.addInitScript(() => {
    globalThis.said = [];
    const look = () => {
      const words = document.querySelector('.situation')?.textContent;
      if (words && words !== said.at(-1)) said.push(words);
    };
    new MutationObserver(look).observe(document, { childList: true, characterData: true, subtree: true });
  });
  page.on('pageerror', error => faults.push(error.message));
  await page.goto(url);
  await page.getByRole('status').filter({ hasText: 'Live' }).first().waitFor();
  return { page, faults, leave: () => context.close() };
}

async function shot(page, name) {
  if (!shots) return;
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: name === 'narrow' });
}

const figure = async (page, name) => Number(await page.locator('.proof div', { hasText: name }).locator('dd').textContent());

const said = (page, words) => page.evaluate(([source]) => globalThis.said.some(line => new RegExp(source).test(line)), [words.source]);
const situation = page => page.locator('.situation').textContent();

async function until(what, good, ms = LONG) {
  const end = Date.now() + ms;
  for (;;) {
    if (await good()) return;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise(done => setTimeout(done, 100));
  }
}

/** Frames a second of a page over so many ms, and the longest of them. */
async function frameRate(page, ms) {
  await page.bringToFront();
  return page.evaluate(
    ms =>
      new Promise(done => {
        const times = [];
        const step = time => {
          times.push(time);
          if (time - times[0] < ms) return requestAnimationFrame(step);
          const spans = times.slice(1).map((at, n) => at - times[n]);
          done({ frames: (1000 * spans.length) / (time - times[0]), longest: Math.max(...spans) });
        };
        requestAnimationFrame(step);
      }),
    ms,
  );
}

/** What is drawn: mean brightness and a digest, of each camera. */
const pictures = page =>
  page.evaluate(async () => {
    const drawn = [];
    for (const canvas of document.querySelectorAll('.camera canvas')) {
      const bitmap = await createImageBitmap(canvas);
      const copy = new OffscreenCanvas(64, 48);
      const context = copy.getContext('2d');
      context.drawImage(bitmap, 0, 0, 64, 48);
      const { data } = context.getImageData(0, 0, 64, 48);
      let sum = 0;
      let digest = 7;
      for (let at = 0; at < data.length; at += 4) {
        sum += data[at] + data[at + 1] + data[at + 2];
        digest = (digest * 31 + data[at] * 3 + data[at + 1] * 5 + data[at + 2]) >>> 0;
      }
      drawn.push({ mean: sum / (64 * 48 * 3), digest });
    }
    return drawn;
  });

describe('the control room', () => {
  it('shows four cameras that move, metrics, units and who is there', async () => {
    const { page, faults, leave } = await enter();
    await until('four live cameras', async () => (await page.locator('.camera[data-live]').count()) === 4);
    const first = await pictures(page);
    await until('other pictures', async () => {
      const now = await pictures(page);
      return now.every(({ mean, digest }, at) => mean > 5 && digest !== first[at].digest);
    });
    await until('readings', async () => (await figure(page, 'readings')) >= 3);
    await until('units', async () => (await page.locator('.units li').count()) >= 3);
    await until('presence', async () => (await page.locator('.people li').count()) >= 2);
    await page.waitForTimeout(2000);
    await shot(page, 'dark');
    assert.deepEqual(faults, []);
    await leave();
  });

  it('draws 60 frames a second with four cameras', async t => {
    const { page, leave } = await enter();
    await until('four live cameras', async () => (await page.locator('.camera[data-live]').count()) === 4);
    // What an empty page draws on this machine at this time, before and after, is all there is to be had.
    const empty = await browser.newPage();
    const before = await frameRate(empty, 2000);
    await empty.close();
    const { frames, longest } = await frameRate(page, 5000);
    const other = await browser.newPage();
    const after = await frameRate(other, 2000);
    await other.close();
    const most = Math.min(60, before.frames, after.frames);
    t.diagnostic(`${frames.toFixed(1)} frames/s, longest ${longest.toFixed(0)} ms; an empty page ${before.frames.toFixed(1)} and ${after.frames.toFixed(1)}`);
    assert.ok(frames > most * 0.6, `${frames} frames/s, an empty page ${most}`);
    await leave();
  });

  it('an alert is raised, acknowledged and resolved by keyboard', async () => {
    const { page, leave } = await enter();
    await page.getByRole('button', { name: 'Raise', exact: true }).click();
    const alert = page.locator('.alert[data-status="active"]').first();
    await alert.waitFor();
    await alert.focus();
    await page.keyboard.press('a');
    const taken = page.locator('.alert[data-status="acknowledged"]').first();
    await taken.waitFor();
    await taken.focus();
    await page.keyboard.press('r');
    await until('no open alert', async () => (await page.locator('.alert').count()) === 0);
    await leave();
  });

  it('Tab reaches every control, each has a name, and the first leads to the alerts', async () => {
    const { page, leave } = await enter();
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), 'Skip to alerts');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'alerts');
    await page.evaluate(() => document.activeElement.blur());
    const controls = 'button:not(:disabled), select, input, [tabindex="0"]';
    const wanted = await page.locator(controls).count();
    const reached = new Set();
    for (let press = 0; press < wanted + 10; press++) {
      await page.keyboard.press('Tab');
      reached.add(
        await page.evaluate(() => {
          const { activeElement: at } = document;
          if (at === document.body) return '';
          at.dataset.reached = '1';
          return at.getAttribute('aria-label') ?? at.labels?.[0]?.textContent ?? at.textContent;
        }),
      );
    }
    const missed = await page.locator(controls).evaluateAll(all => all.filter(one => !one.dataset.reached).map(one => one.outerHTML.slice(0, 120)));
    assert.deepEqual(missed, []);
    for (const name of ['Cut network', 'Your status', 'Note for the log', 'What happened, newest first']) {
      assert.ok([...reached].some(words => words.includes(name)), `${name} is not among ${[...reached].join(' | ')}`);
    }
    await leave();
  });

  it('with the network cut notes wait; plugged in, each arrives once', async () => {
    const { page, leave } = await enter();
    await page.getByRole('button', { name: 'Cut network' }).click();
    await page.getByRole('button', { name: 'Send 20' }).click();
    await until('waiting notes', async () => (await figure(page, 'waiting')) === 20);
    await page.locator('.link[data-status="reconnecting"]').waitFor();
    await until('the countdown', async () => /in \d+\.\d s/.test(await page.locator('.link').textContent()));
    assert.match(await situation(page), /Showing \d.*; 20 notes wait here/);
    await shot(page, 'cut');
    const readings = await figure(page, 'readings');
    await page.getByRole('button', { name: 'Plug network in' }).click();
    await until('delivery', async () => (await figure(page, 'delivered')) === 20);
    await until('the words of the recovery', () => said(page, /Back after .*20 notes.*0 missing, 0 doubled/));
    await until('readings that were missed', async () => (await figure(page, 'readings')) > readings + 5);
    assert.deepEqual([await figure(page, 'doubled'), await figure(page, 'missing')], [0, 0]);
    await leave();
  });

  for (const [button, name] of [['Restart server', 'restarted'], ['Kill server', 'killed']]) {
    it(`the server is ${name} while notes are sent: none lost, none doubled`, async () => {
      const { page, leave } = await enter();
      await page.getByRole('button', { name: button }).click();
      for (let burst = 0; burst < 3; burst++) await page.getByRole('button', { name: 'Send 20' }).click();
      await until('delivery', async () => (await figure(page, 'delivered')) === 60);
      await until('the words of the recovery', () => said(page, /Back after .* \d+ readings? since/));
      await until('four live cameras', async () => (await page.locator('.camera[data-live]').count()) === 4);
      await shot(page, name);
      assert.deepEqual([await figure(page, 'waiting'), await figure(page, 'doubled'), await figure(page, 'missing')], [0, 0, 0]);
      await leave();
    });
  }

  it('notes that wait survive a reload', async () => {
    const { page, leave } = await enter();
    await until('a durable outbox', async () => (await page.locator('.outbox .foot').textContent()).includes('survives a reload'));
    await page.getByRole('button', { name: 'Cut network' }).click();
    await page.getByRole('button', { name: 'Send 20' }).click();
    await until('waiting notes', async () => (await figure(page, 'waiting')) === 20);
    await page.reload();
    await until('delivery by the next page', async () => (await page.locator('.items li[data-state="delivered"], .items li[data-state="accepted"]').count()) === 20);
    await leave();
  });

  for (const [name, options] of [
    ['dark', { colorScheme: 'dark' }],
    ['light', { colorScheme: 'light' }],
    ['narrow', { colorScheme: 'dark', viewport: { width: 390, height: 844 } }],
  ]) {
    it(`${name}: axe finds nothing, and nothing is wider than the page`, async () => {
      const { page, leave } = await enter(options);
      await page.getByRole('button', { name: 'Raise', exact: true }).click();
      await page.locator('.alert').first().waitFor();
      await until('live cameras', async () => (await page.locator('.camera[data-live]').count()) === 4);
      await until('no toast', async () => (await page.locator('.toast').count()) === 0);
      await shot(page, name);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => globalThis.axe.run());
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 0, `${over} px too wide`);
      await leave();
    });
  }
});
