// Prisma Studio in a real browser: opens, browses a table, and tries to change a row of it.
//
// node work.mjs URL PICTURES (allowed|refused): prints `ok …` lines; exits with 1 when something is otherwise.

import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import path from 'node:path';

const [url, pictures, expected] = process.argv.slice(2);
const modules = path.resolve('target/clients/node/node_modules');
const { chromium } = createRequire(path.join(modules, 'x.js'))('playwright-core');

const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

const port = await freePort();
const studio = spawn(
  process.execPath,
  [path.join(modules, 'prisma/build/index.js'), 'studio', '--url', url, '--port', String(port), '--browser', 'none'],
  { cwd: path.dirname(modules), env: { ...process.env, CHECKPOINT_DISABLE: '1', PRISMA_HIDE_UPDATE_MESSAGE: '1' } },
);
let said = '';
studio.stdout.on('data', (text) => { said += text; });
studio.stderr.on('data', (text) => { said += text; });

const fail = (text) => { throw new Error(`${text}\n${said}`); };
const until = async (what, holds) => {
  for (let round = 0; round < 300; round += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  fail(`${what} did not come`);
};

let browser;
try {
  await until('Studio', async () => fetch(`http://localhost:${port}/`).then((page) => page.ok, () => false));
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(30000);
  await page.goto(`http://localhost:${port}/`);
  await page.getByText('orders', { exact: true }).first().click();
  await page.getByText('paid', { exact: true }).first().waitFor();
  await page.screenshot({ path: path.join(pictures, 'prisma-studio-reads.png') });
  console.log('ok reads');

  await page.getByText('paid', { exact: true }).first().dblclick();
  await page.keyboard.press('Control+A');
  await page.keyboard.type('shipped');
  await page.keyboard.press('Control+Enter');
  await page.getByText('Save 1 row').click();
  await page.getByText('yes, write to db').click();
  if (expected === 'refused') {
    await page.getByText('"update" operation failed').waitFor();
    await page.screenshot({ path: path.join(pictures, 'prisma-studio-refused.png') });
    console.log('ok refused');
  } else {
    await page.getByText('Save 1 row').waitFor({ state: 'detached' });
    console.log('ok writes');
  }
} catch (error) {
  for (const page of browser?.contexts().flatMap((context) => context.pages()) ?? []) {
    await page.screenshot({ path: path.join(pictures, 'prisma-studio-failed.png') });
  }
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser?.close();
  studio.kill();
}
