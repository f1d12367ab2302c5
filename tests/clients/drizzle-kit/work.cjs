// drizzle-kit, the command line tool: migrate and push, in a schema of their own.
'use strict';
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const assert = require('node:assert/strict');
const work = require('../node/work.cjs');
const { Client } = require('pg');
const { ok } = work;

const packages = process.env.NODE_PATH;
const folder = fs.mkdtempSync(path.join(packages, '..', 'kit-'));

function schema(columns) {
  fs.writeFileSync(path.join(folder, 'schema.js'),
    `const { pgSchema, serial, text, boolean, integer } = require('drizzle-orm/pg-core');
exports.kit = pgSchema('kit');
exports.notes = exports.kit.table('notes', { id: serial().primaryKey(), ${columns} });\n`);
}

// A folder of migrations as drizzle-kit writes it.
function migrations(files) {
  const out = path.join(folder, 'out');
  fs.rmSync(out, { recursive: true, force: true });
  fs.mkdirSync(path.join(out, 'meta'), { recursive: true });
  const entries = Object.keys(files).map((tag, idx) => ({ idx, version: '7', when: 1700000000000 + idx, tag, breakpoints: true }));
  fs.writeFileSync(path.join(out, 'meta/_journal.json'), JSON.stringify({ version: '7', dialect: 'postgresql', entries }));
  for (const [tag, text] of Object.entries(files)) fs.writeFileSync(path.join(out, `${tag}.sql`), text);
}

function kit(...words) {
  const done = spawnSync(process.execPath, [path.join(packages, 'drizzle-kit/bin.cjs'), ...words], { cwd: folder, encoding: 'utf8', timeout: 120000 });
  return { status: done.status, said: `${done.stdout}${done.stderr}` };
}

async function row(sql) {
  const client = new Client({ connectionString: work.url });
  await client.connect();
  try {
    return (await client.query(sql)).rows[0];
  } finally {
    await client.end();
  }
}

const BREAK = '\n--> statement-breakpoint\n';
const ADDITIVE = {
  '0000_notes': `CREATE SCHEMA "kit";${BREAK}CREATE TABLE "kit"."notes" ("id" serial PRIMARY KEY NOT NULL, "body" text);`,
  '0001_done': 'ALTER TABLE "kit"."notes" ADD COLUMN "done" boolean;',
};
const DESTROYS = { '0002_body': `INSERT INTO "kit"."notes" ("body") VALUES ('half');${BREAK}ALTER TABLE "kit"."notes" DROP COLUMN "body";` };
const COUNTS = 'select (select count(*)::int from drizzle.__drizzle_migrations) as applied, (select count(*)::int from kit.notes) as notes';

async function migrate() {
  migrations(ADDITIVE);
  const first = kit('migrate');
  assert.equal(first.status, 0, first.said);
  assert.deepEqual(await row(COUNTS), { applied: 2, notes: 0 });
  ok('migrate: additive migrations');
  migrations({ ...ADDITIVE, ...DESTROYS });
  // It says nothing of a failure, whatever the server answered: its status tells, and the audit log.
  const second = kit('migrate');
  if (work.role === 'unrestricted') {
    assert.equal(second.status, 0, second.said);
    return ok('migrate: a destructive migration');
  }
  assert.notEqual(second.status, 0, second.said);
  assert.deepEqual(await row(COUNTS), { applied: 2, notes: 0 });
  migrations(ADDITIVE);
  assert.equal(kit('migrate').status, 0);
  return ok('migrate: a destructive migration is refused whole, and the next deploy goes on');
}

// push ends with status 0 whatever comes of it; what it prints is node-postgres' error, with DETAIL and HINT.
async function push() {
  const columns = "select string_agg(column_name, ' ' order by column_name) as names from information_schema.columns where table_schema = 'kit'";
  const kept = work.role === 'unrestricted' ? '' : 'body: text(), ';
  schema(`${kept}done: boolean(), more: integer()`);
  const added = kit('push', '--force');
  assert.equal((await row(columns)).names, kept ? 'body done id more' : 'done id more', added.said);
  ok('push: an additive change');
  schema(`${kept}more: integer()`);
  const { said } = kit('push', '--force');
  if (work.role === 'unrestricted') {
    assert.equal((await row(columns)).names, 'id more', said);
    return ok('push --force: a destructive change');
  }
  assert.equal((await row(columns)).names, 'body done id more', said);
  for (const words of ['pgwarden: ALTER TABLE … DROP COLUMN on `kit.notes` is not allowed', "code: '42501'", "detail: 'Effect ddl.destructive", 'hint: ']) {
    assert.ok(said.includes(words), `${words} is not in\n${said}`);
  }
  return ok('push --force: a destructive change is refused, with DETAIL and HINT in its window');
}

work.run(async () => {
  work.version('drizzle-kit');
  fs.writeFileSync(path.join(folder, 'drizzle.config.json'), JSON.stringify({
    dialect: 'postgresql', schema: './schema.js', out: './out', schemaFilter: ['kit'], dbCredentials: { url: work.url } }));
  try {
    if (!work.mayCreate) {
      migrations(ADDITIVE);
      assert.notEqual(kit('migrate').status, 0);
      assert.equal((await row("select count(*)::int as n from pg_namespace where nspname = 'kit'")).n, 0);
      return ok('migrate is refused before it begins');
    }
    await migrate();
    return await push();
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
