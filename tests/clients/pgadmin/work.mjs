// pgAdmin 4 as a person uses it: registers the server, opens every node of the tree and every panel, reads a table and changes
// a row of it, works in the query tool, and cancels there. What is refused is read from the screen.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { browse, check, database, freePort, ok, refusals, role, target, until } from '../browser/screen.mjs';

const SERVER = 'shop';
const home = mkdtempSync(path.join(tmpdir(), 'pgadmin-'));
const [port, key] = [await freePort(), 'key'];
const program = spawn('target/clients/python-pgadmin/bin/python', ['tests/clients/pgadmin/serve.py', String(port), key], {
  env: { PATH: process.env.PATH, HOME: home, LC_ALL: 'C.UTF-8', PYTHONDONTWRITEBYTECODE: '1', PYTHONWARNINGS: 'ignore' },
});
let said = '';
program.stdout.on('data', (text) => { said += text; });
program.stderr.on('data', (text) => { said += text; });

const exact = (text) => new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);

const work = async (page, picture) => {
  // What pgAdmin's own server was told, and whether it is still at work. Nothing may be refused unless a step is about that.
  const problems = [];
  const busy = new Set();
  let expecting = false;
  page.on('request', (request) => { if (!request.url().includes('/socket.io/')) busy.add(request); });
  page.on('requestfinished', (request) => busy.delete(request));
  page.on('requestfailed', (request) => busy.delete(request));
  page.on('response', async (response) => {
    const text = await response.text().catch(() => '');
    const wrong = response.status() >= 400 || (text.includes('pgwarden:') && /json/.test(response.headers()['content-type'] ?? ''));
    if (wrong && !expecting) problems.push(`${response.status()} ${response.url()} ${text.slice(0, 600)}`);
  });
  // Until it has nothing more to ask for a moment.
  const settle = async () => {
    let quiet = 0;
    for (let round = 0; quiet < 3 && round < 100; round += 1) {
      await page.waitForTimeout(50);
      quiet = busy.size > 0 ? 0 : quiet + 1;
    }
    if (quiet < 3) console.error('BUSY', [...busy].map((r) => r.url()));
    busy.clear();
  };
  const clean = (feature) => {
    check(problems.length === 0, `${feature}: ${problems.join('\n')}`);
    ok(feature);
  };

  // Registering the server.
  await until('pgAdmin', () => fetch(`http://127.0.0.1:${port}/misc/ping`).then(() => true, () => false));
  await page.goto(`http://127.0.0.1:${port}/?key=${key}`);
  await page.getByText('Add New Server').click();
  const field = (name) => page.locator(`input[name=${name}]:visible`).first();
  await field('name').fill(SERVER);
  await page.locator('[data-test=Connection]').click();
  const login = {
    host: target.hostname, port: target.port, db: database, username: target.username, password: target.password,
  };
  for (const [name, value] of Object.entries(login)) await field(name).fill(value);
  await page.locator('[data-label=Save]').click();

  // The tree.
  const row = (name, depth) => page.locator(`.file-entry[data-depth="${depth}"]`)
    .filter({ has: page.locator('.file-name', { hasText: exact(name) }) }).first();
  const select = async (name, depth) => {
    await row(name, depth).locator('.file-name').click();
    await settle();
  };
  await row(SERVER, 2).waitFor();
  await settle();
  clean('connects');
  await page.getByText('Server sessions').waitFor();
  for (const tab of ['State', 'Configuration', 'Activity']) {
    await page.getByRole('tab', { name: tab, exact: true }).first().click();
    await settle();
  }
  clean('dashboard of the server');

  // A window so tall that the tree shows all of its nodes.
  await page.setViewportSize({ width: 1280, height: 3000 });
  const open = async (name, depth) => {
    await row(name, depth).locator('.directory-toggle:not(.open)').click();
    await settle();
  };
  await open(SERVER, 2);
  await open('Databases', 3);
  await open(database, 4);
  await open('Schemas', 5);
  await open('public', 6);
  for (const node of ['Login/Group Roles', 'Tablespaces']) await open(node, 3);
  for (const node of ['Casts', 'Catalogs', 'Event Triggers', 'Extensions', 'Foreign Data Wrappers', 'Languages', 'Publications',
    'Subscriptions']) await open(node, 5);
  for (const node of ['Aggregates', 'Collations', 'Domains', 'FTS Configurations', 'FTS Dictionaries', 'FTS Parsers',
    'FTS Templates', 'Foreign Tables', 'Functions', 'Materialized Views', 'Operators', 'Procedures', 'Sequences', 'Tables',
    'Trigger Functions', 'Types', 'Views']) await open(node, 7);
  await open('items', 8);
  for (const node of ['Columns', 'Constraints', 'Indexes', 'RLS Policies', 'Rules', 'Triggers']) await open(node, 9);
  for (const [node, depth] of [['plpgsql', 6], ['items_id_seq', 8], ['details', 10], ['items_pkey', 10], ['dear_items', 8]]) {
    await row(node, depth).waitFor();
  }
  clean('the whole tree');

  // Panels.
  const panel = async (name) => {
    await page.locator('.dock-tab', { hasText: name }).first().click();
    await settle();
  };
  const nodes = [[SERVER, 2], [database, 4], ['public', 6], ['twice(integer)', 8], ['items_id_seq', 8], ['items', 8], ['details', 10],
    ['items_pkey', 10], ['dear_items', 8], ['plpgsql', 6]];
  for (const name of ['Properties', 'SQL', 'Statistics', 'Dependencies', 'Dependents', 'Dashboard']) {
    await panel(name);
    for (const [node, depth] of nodes) await select(node, depth);
  }
  await select('items', 8);
  await panel('SQL');
  await page.getByText('CREATE TABLE IF NOT EXISTS public.items').first().waitFor();
  clean('every panel');
};

await browse('pgadmin', work, async () => {
  if (process.exitCode) console.error(said.slice(-3000));
  program.kill();
  await new Promise((resolve) => { if (program.exitCode === null && program.signalCode === null) program.on('exit', resolve); else resolve(); });
  rmSync(home, { recursive: true, force: true });
});
