// The console in a real browser: every page, every action, the keyboard alone, and axe's accessibility rules.
//
// node work.mjs JSON: {url, user, password, viewer, viewerPassword, second, shots, docs, hostile}. Prints `ok …` lines; exits with 1
// when something is otherwise.

import { createRequire } from 'node:module';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const given = JSON.parse(process.argv[2]);
const modules = path.resolve('target/clients/node/node_modules');
const { chromium } = createRequire(path.join(modules, 'x.js'))('playwright-core');
const axe = readFileSync(path.join(modules, 'axe-core/axe.min.js'), 'utf8');
mkdirSync(given.shots, { recursive: true });

const ok = (what) => console.log(`ok ${what}`);
const check = (holds, what) => { if (!holds) throw new Error(what); };
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--force-color-profile=srgb', '--hide-scrollbars'],
});
const said = [];
const open = async (width = 1280) => {
  const context = await browser.newContext({ viewport: { width, height: 860 }, colorScheme: 'light', reducedMotion: 'reduce' });
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  // A blocked script or style, or a script's mistake, is one too many. Answers with an error status are what some steps are about.
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) said.push(message.text());
  });
  page.on('pageerror', (error) => said.push(String(error)));
  page.on('dialog', (dialog) => { said.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  return page;
};

const looks = [['light', 1280], ['light', 1024], ['light', 390], ['dark', 1280], ['dark', 1024], ['dark', 390]];
// A page in every look: no violation, nothing wider than the window, and a picture.
const look = async (page, name) => {
  await page.evaluate(axe);
  for (const [scheme, width] of looks) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    await page.setViewportSize({ width, height: width === 390 ? 844 : 860 });
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    check(violations.length === 0, `${name} ${scheme} ${width}: ${violations.map((violation) =>
      `${violation.id}: ${violation.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`).join(' | ')}`)}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    check(wide <= 0, `${name} ${scheme} ${width}: ${wide} px wider than the window`);
    const docs = given.docs && (scheme === 'light' ? width !== 1024 : width === 1280);
    const file = `console-${name}${width === 390 ? '-phone' : ''}${scheme === 'dark' ? '-dark' : ''}`;
    if (docs && given.docs_pages.includes(file)) await page.screenshot({ path: path.join(given.docs, `${file}.png`), fullPage: width !== 1280 });
    if (given.all) await page.screenshot({ path: path.join(given.shots, `${file}-${width}.png`), fullPage: true });
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
  await page.setViewportSize({ width: 1280, height: 860 });
  ok(`looks ${name}`);
};

// The page with this heading, its script running.
const heading = async (page, text) => {
  await page.getByRole('heading', { level: 1, name: text }).waitFor();
  await page.waitForLoadState('load');
};
// Does what leads to another page, and waits until that one is there with its script.
const leads = async (page, act) => {
  const there = page.waitForEvent('load');
  await act();
  await there;
};
const logIn = async (page, user, password) => {
  await page.getByLabel('User').fill(user);
  await page.getByLabel('Password').fill(password);
  await page.keyboard.press('Enter');
};

try {
  const page = await open();

  // Logging in, by the keyboard alone; wrong first.
  await page.goto(`${given.url}/audit?q=verdict%3Adeny`);
  await heading(page, 'Log in');
  await page.keyboard.type(given.user);
  await page.keyboard.press('Tab');
  await page.keyboard.type('wrong');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').waitFor();
  await look(page, 'login');
  await page.getByLabel('User').focus();
  await page.keyboard.type(given.user);
  await page.keyboard.press('Tab');
  await page.keyboard.type(given.password);
  await page.keyboard.press('Enter');
  await heading(page, 'Audit log');
  check(page.url().endsWith('/audit?q=verdict%3Adeny'), `sent to ${page.url()}`);
  ok('logs in by keyboard');

  // Keys lead from page to page.
  for (const [key, title] of [['o', 'Overview'], ['r', 'Review'], ['s', 'Sessions'], ['g', 'Grants'], ['p', 'Policies'], ['a', 'Audit log']]) {
    await page.keyboard.press('g');
    await page.keyboard.press(key);
    await heading(page, title);
  }
  await page.keyboard.press('?');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  ok('keys lead everywhere');

  // The overview, in each of its stretches.
  await page.goto(given.url);
  for (const name of ['Last hour', 'Last week']) {
    await leads(page, () => page.getByRole('link', { name }).click());
    await page.locator(`nav.tabs [aria-current]`, { hasText: name }).waitFor();
  }
  await page.getByText('reachable').first().waitFor();
  await look(page, 'overview');
  await leads(page, () => page.locator('svg.lane a').last().click());
  await heading(page, 'Audit log');
  check(await page.locator('#records .verdict.deny').count() > 0, 'a bar leads to its refusals');
  ok('overview');

  // Search while typing.
  await page.goto(`${given.url}/audit`);
  await page.keyboard.press('/');
  await page.keyboard.type('verdict:deny act:"drop table"');
  await page.waitForFunction(() => [...document.querySelectorAll('#records li')].length > 0
    && [...document.querySelectorAll('#records li')].every((item) => item.textContent.includes('refused')));
  check(page.url().includes('drop'), 'the address follows the search');
  await look(page, 'audit');
  await leads(page, () => page.locator('.facets a', { hasText: 'migrator' }).first().click());
  check((await page.getByLabel('Filter').inputValue()).includes('user:migrator'), 'a facet narrows the search');
  await page.getByLabel('Filter').fill('nosuchfield:1');
  await page.getByText('there is no field nosuchfield').waitFor();
  await page.getByLabel('Filter').fill('user:nobody-at-all');
  await page.getByText('No record holds all of that.').waitFor();
  await page.goto(`${given.url}/audit`);
  await leads(page, () => page.getByRole('link', { name: 'Older →' }).click());
  await leads(page, () => page.getByRole('link', { name: '← Newest' }).click());
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.keyboard.press('k');
  await leads(page, () => page.keyboard.press('Enter'));
  await page.getByText('Place in the chain').waitFor();
  ok('searches while typing');

  // Saving a search and removing it.
  await page.goto(`${given.url}/audit?q=user%3Aapp`);
  await page.getByText('Save this search').click();
  await page.getByLabel('Name').fill('what <b>app</b> does');
  await leads(page, () => page.keyboard.press('Enter'));
  await page.getByRole('link', { name: '★ what <b>app</b> does' }).waitFor();
  await page.getByText('Save this search').click();
  await leads(page, () => page.getByRole('button', { name: 'Remove' }).click());
  await page.getByRole('link', { name: '★' }).waitFor({ state: 'detached' });
  ok('saves and removes a search');

  // The live tail, paused and not.
  await page.goto(`${given.url}/audit?q=${encodeURIComponent('event:login_failed')}`);
  const before = await page.locator('#records li').count();
  await page.keyboard.press('l');
  const other = await open();
  await other.goto(given.url);
  await logIn(other, 'nobody <i>', 'x');
  await other.getByRole('alert').waitFor();
  await page.waitForFunction((count) => document.querySelectorAll('#records li').length > count, before);
  await page.getByRole('button', { name: 'Pause' }).click();
  check(await page.getByRole('button', { name: 'Follow live' }).getAttribute('aria-pressed') === 'false', 'paused');
  ok('follows live');

  // One record: a refusal with its words marked, its neighbours and its proof.
  await page.goto(`${given.url}/audit?q=${encodeURIComponent('verdict:deny act:"drop table" user:migrator')}`);
  await leads(page, () => page.locator('#records a.record').first().click());
  await page.locator('mark.refused').first().waitFor();
  await page.getByText('computed anew, and the same').waitFor();
  await page.getByText(/^by record/).waitFor();
  await look(page, 'record');
  ok('a record with its proof');

  // Hostile text is shown, and does nothing: in every list, and on the pages of its records.
  execFileSync(given.hostile.program, given.hostile.arguments, { stdio: 'ignore' });
  let hostile = [];
  for (let round = 0; hostile.length < given.hostile.count && round < 100; round += 1) {
    await page.goto(`${given.url}/audit?q=${encodeURIComponent('event:statement application:"<img"')}`);
    hostile = await page.locator('#records a.record').evaluateAll((links) => links.map((link) => link.getAttribute('href')));
  }
  check(hostile.length === given.hostile.count, `hostile statements recorded: ${hostile.length}`);
  for (const address of ['/', '/review', '/review/digest', ...hostile]) {
    await page.goto(`${given.url}${address}`);
    await page.locator('main').waitFor();
    check(await page.locator('img[onerror], [onmouseover], body script').count() === 0, `${address} holds code`);
  }
  for (const address of hostile) {
    await page.goto(`${given.url}${address}`);
    await page.locator('pre.sql').first().waitFor();
  }
  await page.goto(`${given.url}/audit?q=${encodeURIComponent('"<script>"')}`);
  check(await page.locator('#records li').count() > 0, 'hostile statements are found');
  check(await page.evaluate(() => globalThis.hacked === undefined && !document.querySelector('#results img, #results script')), 'nothing ran');
  await page.goto(`${given.url}${hostile.at(-1)}/text`);
  check((await page.content()).includes('\\u{202e}'), 'the text as a file shows its hazards');
  ok('hostile text is harmless');

  // The inbox: assign, mark as a problem, acknowledge.
  await page.goto(`${given.url}/review`);
  await page.locator('.inbox .item').first().waitFor();
  await look(page, 'review');
  // By its newest record: others may come in meanwhile.
  const first = await page.locator('.inbox .item a.sql-line').first().getAttribute('href');
  await page.getByRole('button', { name: /^Acknowledge / }).first().focus();
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.type('looked at it <b>twice</b>');
  await leads(page, () => page.keyboard.press('Enter'));
  await heading(page, 'Review');
  check(await page.locator(`.inbox .item a[href="${first}"]`).count() === 0, 'what is acknowledged goes');
  await page.getByText('Assign', { exact: true }).first().click();
  await page.getByRole('combobox').first().selectOption(given.user);
  await leads(page, () => page.getByRole('button', { name: 'Assign' }).first().click());
  await page.goto(`${given.url}/review?view=mine`);
  check(await page.locator('.inbox .item').count() === 1, 'what is assigned is mine');
  await page.getByRole('button', { name: /^Problem/ }).first().click();
  await page.getByPlaceholder('What is wrong?').fill('who dropped this?');
  await leads(page, () => page.getByRole('button', { name: /^Problem/ }).first().click());
  await page.goto(`${given.url}/review?view=problems`);
  await page.getByText('who dropped this?').waitFor();
  ok('reviews');
  await page.goto(`${given.url}/review/digest`);
  await page.getByText('Problems and what is overdue').waitFor();
  await look(page, 'digest');
  await page.emulateMedia({ media: 'print' });
  check(await page.getByRole('navigation', { name: 'Pages' }).isHidden(), 'paper has no navigation');
  await page.emulateMedia({ media: 'screen' });

  // Sessions: cancel one's statement, then end it; without a sign of meaning it, nothing.
  await page.goto(`${given.url}/sessions`);
  await page.getByText('running for').first().waitFor();
  await look(page, 'sessions');
  await leads(page, () => page.locator('tr', { hasText: 'pg_sleep' }).getByRole('link').first().click());
  await page.getByRole('checkbox').waitFor();
  await look(page, 'session');
  await page.getByRole('button', { name: 'Cancel statement' }).click();
  check(await page.getByRole('checkbox').isVisible(), 'nothing without confirmation');
  await page.getByRole('checkbox').check();
  await leads(page, () => page.getByRole('button', { name: 'Cancel statement' }).click());
  // The server takes its moment to stop.
  for (let round = 0; !(await page.getByText('Ran last').isVisible()) && round < 100; round += 1) await page.reload();
  await page.getByText('Ran last').waitFor();
  await page.getByRole('checkbox').focus();
  await page.keyboard.press('Space');
  await page.getByRole('button', { name: 'End session' }).focus();
  await leads(page, () => page.keyboard.press('Enter'));
  await heading(page, 'Sessions');
  ok('cancels and ends a session');

  // Grants: asked for by keyboard, not approved by whoever asked, approved by somebody else who types where, and taken back.
  await page.goto(`${given.url}/grants`);
  await page.getByText('Nobody has more than their policy allows.').waitFor();
  await page.getByRole('combobox', { name: 'For', exact: true }).selectOption('app');
  await page.getByRole('combobox', { name: 'In', exact: true }).selectOption('production');
  await page.getByLabel('Effects, parted by commas').fill('ddl.destructive, read');
  await page.getByLabel('Only on these relations').fill('public.orders');
  await page.getByLabel('Why').fill('<script>hacked = 1</script> \u202Eas agreed');
  await page.getByRole('button', { name: 'Ask', exact: true }).focus();
  await leads(page, () => page.keyboard.press('Enter'));
  await heading(page, 'Grant for app');
  await page.getByText('It is your own: somebody else has to approve it.').waitFor();
  check(await page.getByRole('button', { name: 'Approve' }).count() === 0, 'nobody approves their own');
  const grant = page.url();
  const second = await open();
  await second.goto(grant);
  await logIn(second, given.second, given.password);
  await heading(second, 'Grant for app');
  await second.getByText('adds', { exact: true }).waitFor();
  await look(second, 'grant');
  check((await second.content()).includes('\\u{202e}'), 'a reason shows its hazards');
  check(await second.evaluate(() => globalThis.hacked === undefined), 'a reason does nothing');
  await second.getByLabel('Type production to approve').fill('staging');
  await leads(second, () => second.getByRole('button', { name: 'Approve' }).click());
  await second.getByText('type the environment').waitFor();
  await second.goto(grant);
  await second.getByLabel('Type production to approve').focus();
  await second.keyboard.type('production');
  await leads(second, () => second.keyboard.press('Enter'));
  await second.getByText('in force, ends in').waitFor();
  await page.goto(`${given.url}/grants`);
  await page.getByText('in force, ends in').waitFor();
  await look(page, 'grants');
  await page.keyboard.press('j');
  await leads(page, () => page.keyboard.press('Enter'));
  await page.getByLabel('Note').fill('done <b>with it</b>');
  await leads(page, () => page.keyboard.press('Enter'));
  await page.getByText('revoked by').first().waitFor();
  await leads(page, () => page.getByRole('link', { name: 'Its records' }).click());
  // The index may be a moment behind the log.
  for (let round = 0; await page.locator('#records li').count() < 3 && round < 50; round += 1) await page.reload();
  check(await page.locator('#records li').count() === 3, 'a grant asked for, approved and revoked has three records');
  await leads(page, () => page.locator('#records a.record').first().click());
  await leads(page, () => page.getByRole('link', { name: 'The grant', exact: true }).click());
  await heading(page, 'Grant for app');
  ok('grants');

  // Policies: a cell and its rule, a statement tried.
  await page.goto(`${given.url}/policies`);
  await leads(page, () => page.getByRole('link', { name: 'ddl.destructive as studio in production: refused' }).click());
  await page.getByText('Stands in').or(page.getByText('not in allow (policy read-only)')).first().waitFor();
  await look(page, 'policies');
  await page.getByLabel('Statement (it is judged, not run)').fill('WITH gone AS (DELETE FROM orders RETURNING *)\nSELECT count(*), \'<script>hacked = 1</script>\' FROM gone');
  await page.locator('select[name=as]').selectOption('production/studio');
  await leads(page, () => page.getByRole('button', { name: 'What would happen?' }).click());
  await page.getByRole('status').getByText('Refused').first().waitFor();
  await look(page, 'try');
  ok('policies');

  // A viewer sees, and cannot act.
  const viewer = await open();
  await viewer.goto(`${given.url}/review`);
  await logIn(viewer, given.viewer, given.viewer_password);
  await heading(viewer, 'Review');
  check(await viewer.getByRole('button', { name: /^Acknowledge/ }).count() === 0, 'a viewer does not review');
  await viewer.getByRole('button', { name: 'Log out' }).click();
  await heading(viewer, 'Log in');
  await viewer.goto(`${given.url}/audit`);
  await heading(viewer, 'Log in');
  ok('a viewer sees, and logs out');

  check(said.length === 0, `the browser complained: ${said.join('\n')}`);
  ok('no complaint');
} catch (error) {
  let number = 0;
  for (const page of browser.contexts().flatMap((context) => context.pages())) {
    await page.screenshot({ path: path.join(given.shots, `failed-${number++}.png`) }).catch(() => {});
  }
  console.error(error, said);
  process.exitCode = 1;
} finally {
  await browser.close();
}
