// What the clients that live in a browser share: a browser, a free port, the roles' refusals, and a report.

import { createRequire } from 'node:module';
import { mkdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';

const modules = path.resolve('target/clients/node/node_modules');
const { chromium } = createRequire(path.join(modules, 'x.js'))('playwright-core');

export const [url, role, keeps] = process.argv.slice(2);
export const target = new URL(url);
export const database = target.pathname.slice(1);

export const ok = (feature) => console.log(`ok ${feature}`);
export const skip = (feature, reason) => console.log(`skip ${feature}: ${reason}`);
export const check = (holds, what) => { if (!holds) throw new Error(what); };

// What this role must be refused: [SQLSTATEs, statement].
export const refusals = readFileSync(process.env.REFUSALS, 'utf8').split('\n')
  .filter((line) => line.startsWith(`${role}\t`))
  .map((line) => { const [, states, sql] = line.split('\t'); return [states.split(','), sql]; });

export const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

export const until = async (what, holds, seconds = 60) => {
  for (let round = 0; round < 10 * seconds; round += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${what} did not come`);
};

// Runs `work` in a page of a browser; a picture of it goes wherever PICTURES says.
export const browse = async (name, work, last) => {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--force-color-profile=srgb', '--hide-scrollbars'],
  });
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
  page.setDefaultTimeout(90000);
  const picture = async (what) => {
    if (!process.env.PICTURES) return;
    mkdirSync(process.env.PICTURES, { recursive: true });
    await page.screenshot({ path: path.join(process.env.PICTURES, `${name}-${what}.png`) });
  };
  try {
    await work(page, picture);
  } catch (error) {
    mkdirSync('target/tmp/pictures', { recursive: true });
    await page.screenshot({ path: `target/tmp/pictures/${name}-failed-${role}-${process.pid}.png` }).catch(() => {});
    console.error(error);
    process.exitCode = 1;
  } finally {
    await browser.close();
    await last();
  }
};
