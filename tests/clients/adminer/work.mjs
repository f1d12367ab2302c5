// Adminer as a person uses it, in a real browser: logs in, opens a table and its rows, runs a query, and changes a row. What is
// refused is read from the screen.

import { spawn, spawnSync } from 'node:child_process';

import { browse, check, database, freePort, ok, refusals, role, target, until } from '../browser/screen.mjs';

const port = await freePort();
const php = spawn('php', ['-S', `127.0.0.1:${port}`, '-t', '/usr/share/adminer'], {
  env: { ...process.env, PHP_CLI_SERVER_WORKERS: '1' }, stdio: 'ignore',
});
const version = spawnSync('dpkg-query', ['-W', '-f', '${Version}', 'adminer'], { encoding: 'utf8' }).stdout;
console.log(`version Adminer ${version}`);
const home = `http://127.0.0.1:${port}/adminer.php`;

const work = async (page, picture) => {
  await until('Adminer', () => fetch(home).then((answer) => answer.ok, () => false));
  await page.goto(home);
  await page.locator('select[name="auth[driver]"]').selectOption('pgsql');
  const login = {
    server: target.host, username: decodeURIComponent(target.username), password: decodeURIComponent(target.password), db: database,
  };
  for (const [name, value] of Object.entries(login)) await page.locator(`input[name="auth[${name}]"]`).fill(value);
  await page.locator('input[type=submit]').first().click();
  await page.locator('#tables').getByText('items', { exact: true }).waitFor();
  ok('logs in, and lists the tables');

  const at = page.url().replace(/&(ns|select|table|sql)=.*$/, '');
  const go = (rest) => page.goto(`${at}&ns=public&${rest}`);
  await go('table=items');
  for (const name of ['details', 'PRIMARY']) await page.locator('#content').getByText(name, { exact: true }).first().waitFor();
  ok('a table’s structure');
  await go('select=items&order%5B0%5D=id');
  await page.getByText('item 3', { exact: true }).waitFor();
  await picture('rows');
  ok('a table’s rows');

  const query = async (sql) => {
    await go(`sql=${encodeURIComponent(sql)}`);
    await page.locator('#form input[type=submit][value=Execute]').click();
    await page.locator('.message, .error, #content table').first().waitFor();
    return page.locator('#content').innerText();
  };
  check((await query("select 'number ' || count(*) as n from items")).includes('number 1000'), 'the query’s answer');
  ok('a query');
  check((await query('select 1/0')).includes('division by zero'), 'the error');
  ok('an error');

  await go('edit=items&where%5Bid%5D=3');
  await page.locator('[name="fields[name]"]').fill('changed');
  await page.locator('#form input[type=submit]').first().click();
  if (role === 'read-only') {
    const said = await page.locator('.error').first().innerText();
    check(said.includes('pgwarden: UPDATE on `items`'), `the refusal: ${said}`);
    await picture('refused');
    ok('a row’s change is refused, and the refusal is read on the page');
  } else {
    await page.getByText('Item has been updated').waitFor();
    await go('select=items&order%5B0%5D=id');
    await page.getByText('changed', { exact: true }).waitFor();
    ok('changes a row');
  }

  for (const [, sql] of refusals) {
    const said = await query(sql);
    check(said.includes('pgwarden: '), `${sql}: ${said}`);
  }
  if (refusals.length > 0) {
    check((await query("select 'left ' || count(*) as n from items where name = 'never'")).includes('left 0'), 'nothing is left of them');
    ok('refusals are read on the page, and nothing is left of them');
  }
};

await browse('adminer', work, async () => {
  php.kill();
});
