// pgAdmin 4 as a person uses it: registers the server, opens every node of the tree and every panel, works in the query tool, reads
// a table and changes a row of it. What is refused is read from the screen.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { browse, check, database, freePort, ok, refusals, role, target, until } from '../browser/screen.mjs';

// What the person calls the server.
const SERVER = process.env.SERVER ?? 'shop';
const home = mkdtempSync(path.join(tmpdir(), 'pgadmin-'));
const [port, key] = [await freePort(), 'key'];
const program = spawn('target/clients/python-pgadmin/bin/python', ['tests/clients/pgadmin/serve.py', String(port), key], {
  env: { PATH: process.env.PATH, HOME: home, LC_ALL: 'C.UTF-8', PYTHONDONTWRITEBYTECODE: '1', PYTHONWARNINGS: 'ignore' },
});
const [, version] = /^pgadmin4==(.*)$/m.exec(readFileSync('tests/clients/python-pgadmin/requirements.txt', 'utf8'));
console.log(`version pgAdmin 4 ${version}`);
let said = '';
program.stdout.on('data', (text) => { said += text; });
program.stderr.on('data', (text) => { said += text; });

const exact = (text) => new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);

const work = async (page, picture) => {
  // What pgAdmin's own server was told, and whether it is still at work. Nothing may be refused unless a step is about that.
  const problems = [];
  const busy = new Set();
  let expecting = false;
  page.on('request', (request) => { if (!/\/socket.io\/|\/save_tree_state\//.test(request.url())) busy.add(request); });
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
    busy.clear();
  };
  const clean = (feature) => {
    check(problems.length === 0, `${feature}: ${problems.join('\n')}`);
    ok(feature);
  };

  // What is told stands in the tool's own frame or in the page around it.
  const told = async (text) => {
    for (const one of page.frames()) {
      if (await one.getByText(text).filter({ visible: true }).count().catch(() => 0) > 0) return true;
    }
    return false;
  };
  const seen = (text) => until(String(text), () => told(text));
  // A picture without the hint of the button that was pressed, and without messages that go by themselves.
  const still = async (what, passing) => {
    if (!process.env.PICTURES) return;
    await page.mouse.move(640, 4);
    await page.waitForTimeout(500);
    if (passing) await until(`${passing} to go`, async () => !await told(passing));
    await picture(what);
  };

  // Registering the server.
  // It makes the database of its settings first, version by version: a minute and more where much else is at work.
  await until('pgAdmin', () => fetch(`http://127.0.0.1:${port}/misc/ping`).then(() => true, () => false), 240);
  await page.goto(`http://127.0.0.1:${port}/?key=${key}`);
  await page.getByText('Add New Server').click();
  const field = (name) => page.locator(`input[name=${name}]:visible`).first();
  await field('name').fill(SERVER);
  await page.locator('[data-test=Connection]').click();
  const login = {
    host: target.hostname, port: target.port, db: database, username: target.username, password: target.password,
  };
  // The form puts the cursor into its first field when it is ready, which may be while another one is being filled.
  await until('the form', async () => {
    for (const [name, value] of Object.entries(login)) await field(name).fill(value);
    for (const [name, value] of Object.entries(login)) if (await field(name).inputValue() !== value) return false;
    return true;
  });
  // Its database alone, where the server has many.
  await page.locator('[data-test=Advanced]').click();
  const restriction = page.locator('input[role=combobox]:visible').first();
  await until('the restriction', async () => {
    if (await page.getByText(exact(database)).filter({ visible: true }).count() > 0) return true;
    await restriction.fill(database);
    await page.keyboard.press('Enter');
    await page.waitForTimeout(300);
    return false;
  });
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
    const opened = row(name, depth).locator('.directory-toggle.open');
    await row(name, depth).locator('.directory-toggle').waitFor();
    await settle();
    // An only child opens by itself, maybe just when it is clicked, which then closes it.
    await until(`${name} to open`, async () => {
      if (await opened.count() > 0) return true;
      await row(name, depth).locator('.directory-toggle:not(.open)').click({ timeout: 5000 }).catch(() => {});
      return opened.waitFor({ timeout: 30000 }).then(() => true, () => false);
    }, 180);
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
    'Trigger Functions', 'Types']) await open(node, 7);
  await open('items', 8);
  for (const node of ['Columns', 'Constraints', 'Indexes', 'RLS Policies', 'Rules', 'Triggers']) await open(node, 9);
  // Last: it opens by itself what a view has: columns, rules and triggers too.
  await open('Views', 7);
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

  // The query tool. What is selected stays so where the smaller window does not show it.
  await select(database, 4);
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.locator('button[data-label="Query Tool"]').click();
  const frame = async (kind) => {
    let found;
    await until(kind, async () => { found = page.frames().filter((one) => one.url().includes(kind)).at(-1); return found; });
    return found;
  };
  const tool = await frame('is_query_tool=true');
  const query = async (sql, expected) => {
    await tool.locator('.cm-content').first().click();
    await page.keyboard.press('Control+A');
    await page.keyboard.type(sql);
    await tool.locator('button[data-label="Execute script"]').click();
    await tool.getByText(expected).first().waitFor();
  };
  await query("select 'number ' || count(*) as n from items", exact('number 1000'));
  clean('a query');
  expecting = true;
  await query('select 1/0', /division by zero/);
  for (const [, sql] of refusals) {
    await query("select 'asked ' || 1 as n", exact('asked 1'));
    await query(sql, /pgwarden: [^]*Detail: Effect [^]*Hint: /);
  }
  if (refusals.length > 0) {
    await still('query-refused', /Successfully run/);
    await query("select 'left ' || count(*) as n from items where name = 'never'", exact('left 0'));
    ok('refusals are read in the query tool, and nothing is left of them');
  }

  // A table's rows.
  await page.setViewportSize({ width: 1280, height: 3000 });
  await select('items', 8);
  await page.locator('button[data-label="All Rows"]').click();
  await page.setViewportSize({ width: 1280, height: 800 });
  const rows = await frame('is_query_tool=false');
  const cell = rows.locator('.rdg-cell', { hasText: exact('item 3') }).first();
  await cell.waitFor();
  await settle();
  await still('reads', /Successfully run|Database connected/);
  await cell.dblclick();
  await page.waitForTimeout(800);
  await page.keyboard.press('Control+A');
  await page.keyboard.type('changed');
  await rows.getByRole('button', { name: 'OK' }).click();
  await rows.locator('button[data-label="Save Data Changes"]').click();
  if (role === 'read-only') {
    await seen('pgwarden: UPDATE on');
    await still('refused');
    ok('a row’s change is refused, and the refusal is read in the window');
  } else {
    await seen('Data saved successfully');
    ok('changes a row');
  }
};

await browse('pgadmin', work, async () => {
  if (process.exitCode) console.error(said.slice(-3000));
  program.kill();
  await new Promise((resolve) => { if (program.exitCode === null && program.signalCode === null) program.on('exit', resolve); else resolve(); });
  rmSync(home, { recursive: true, force: true });
});
