// Prisma Migrate: deploy, status, resolve, db pull, reset and db push --force-reset, by the engine that comes with the package.
'use strict';
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const work = require('../node/work.cjs');
const { ok, skip, url } = work;

const packages = path.join(__dirname, '../../../target/clients/prisma-migrate');
const { Client } = require(path.join(packages, 'node_modules/pg'));
const folder = fs.mkdtempSync(path.join(packages, 'run-'));

// The adapter does not know pg_catalog's "char"; the engine takes it for text.
const CONFIG = `
import pg from 'pg';
import { defineConfig } from 'prisma/config';
import { PrismaPg } from '@prisma/adapter-pg';
const plain = (result) => { for (const field of result?.fields ?? []) if (field.dataTypeID === 18) field.dataTypeID = 25; return result; };
const { query } = pg.Client.prototype;
pg.Client.prototype.query = function (...words) {
  const last = words.at(-1);
  if (typeof last === 'function') words[words.length - 1] = (error, result) => last(error, plain(result));
  const sent = query.apply(this, words);
  return sent?.then ? sent.then(plain) : sent;
};
const at = new URL(process.env.DATABASE_URL);
export default defineConfig({
  schema: './schema.prisma',
  migrations: { path: './migrations' },
  experimental: { adapter: true },
  engine: 'js',
  adapter: async () => new PrismaPg({ host: at.hostname, port: Number(at.port), user: at.username, password: at.password, database: at.pathname.slice(1) }),
});
`;
const SCHEMA = `
datasource db {
  provider = "postgresql"
  url      = env("DATABASE_URL")
}
model Note {
  id   Int      @id @default(autoincrement())
  body String?
  done Boolean?
}
`;
const ADDITIVE = {
  '0000_before': '-- What was there before Prisma: `migrate resolve --applied` makes it the baseline.\n',
  '0001_notes': '-- CreateTable\nCREATE TABLE "Note" ("id" SERIAL NOT NULL, "body" TEXT, CONSTRAINT "Note_pkey" PRIMARY KEY ("id"));\n',
  '0002_done': '-- AlterTable\nALTER TABLE "Note" ADD COLUMN "done" BOOLEAN;\n',
};
const DESTROYS = { '0003_body': '-- AlterTable\nALTER TABLE "Note" DROP COLUMN "body";\n' };
const NEXT = { '0004_more': '-- AlterTable\nALTER TABLE "Note" ADD COLUMN "more" INTEGER;\n' };

function write(migrations) {
  fs.rmSync(path.join(folder, 'migrations'), { recursive: true, force: true });
  for (const [name, text] of Object.entries(migrations)) {
    fs.mkdirSync(path.join(folder, 'migrations', name), { recursive: true });
    fs.writeFileSync(path.join(folder, 'migrations', name, 'migration.sql'), text);
  }
  fs.writeFileSync(path.join(folder, 'migrations/migration_lock.toml'), 'provider = "postgresql"\n');
}

// Runs the tool and gives what it says, nothing when its engine crashes; `expected` is whether it succeeds.
function prisma(expected, ...words) {
  const done = spawnSync(process.execPath, [path.join(packages, 'node_modules/prisma/build/index.js'), ...words], {
    cwd: folder, encoding: 'utf8', timeout: 120000,
    // Paths in place of engines keep it from downloading any.
    env: { ...process.env, DATABASE_URL: url.split('?')[0], CHECKPOINT_DISABLE: '1', PRISMA_HIDE_UPDATE_MESSAGE: '1',
      PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', PRISMA_QUERY_ENGINE_LIBRARY: '/bin/true', NO_COLOR: '1' },
  });
  const said = `${done.stdout}${done.stderr}`.replaceAll('\u00a0', ' ');
  if (said.includes('RuntimeError: unreachable')) return undefined;
  assert.equal(done.status === 0, expected, `prisma ${words.join(' ')}: ${done.status}\n${said}`);
  return said;
}

async function number(sql) {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows[0].n;
  } finally {
    await client.end();
  }
}

const CRASHES = 'this engine crashes when it looks at Postgres 18, without pgwarden too';
const LOCKS = "select count(*)::int as n from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())";
const NOTES = 'select count(*)::int as n from "Note"';

// The server may still be ending the tool's connection.
async function unlocked() {
  for (let round = 0; round < 100 && await number(LOCKS) > 0; round += 1) await new Promise((done) => setTimeout(done, 50));
  assert.equal(await number(LOCKS), 0);
}

async function deploys() {
  prisma(true, 'migrate', 'resolve', '--applied', '0000_before');
  prisma(false, 'migrate', 'status');
  prisma(true, 'migrate', 'deploy');
  assert.match(prisma(true, 'migrate', 'status') ?? '', /up to date/);
  ok('migrate deploy and status: additive migrations');
  const pulled = prisma(true, 'db', 'pull', '--print');
  if (pulled === undefined) return skip('db pull', CRASHES);
  assert.match(pulled, /model Note/);
  return ok('db pull');
}

async function refused() {
  write({ ...ADDITIVE, ...DESTROYS });
  const said = prisma(false, 'migrate', 'deploy');
  assert.match(said, /0003_body/);
  assert.match(said, /pgwarden: ALTER TABLE … DROP COLUMN on `Note` is not allowed/);
  // Prisma writes the migration's name into its table before it runs it, so pgwarden knows it too.
  assert.match(said, /\(migration `0003_body`, line 2 of the text\)/);
  assert.match(said, /DETAIL: Effect ddl.destructive/);
  assert.match(said, /prisma migrate resolve --rolled-back 0003_body/);
  await unlocked();
  ok('migrate deploy: a destructive migration is refused and named with its line, and leaves no lock');
  // This engine sends statement by statement; the one that Prisma downloads sends a file as one query.
  await assert.rejects(number(`INSERT INTO "Note" ("body") VALUES ('half'); ${DESTROYS['0003_body']}`),
    /pgwarden: ALTER TABLE.* \(statement 2 of 2, line 2 of the text\)/);
  assert.equal(await number(NOTES), 0);
  ok('a migration sent as one query is refused before its first statement');
  // Prisma notes that it failed, and says so until somebody has looked: its way with every failed migration.
  assert.match(prisma(false, 'migrate', 'deploy'), /P3009[^]*0003_body/);
  prisma(true, 'migrate', 'resolve', '--rolled-back', '0003_body');
  write({ ...ADDITIVE, ...NEXT });
  prisma(true, 'migrate', 'deploy');
  ok('migrate resolve, and the next deploy goes on');
  for (const words of [['migrate', 'reset', '--force', '--skip-generate'], ['db', 'push', '--force-reset', '--skip-generate']]) {
    const said = prisma(false, ...words);
    assert.equal(await number(NOTES), 0);
    const name = words.slice(0, -1).join(' ');
    if (said === undefined) {
      skip(name, CRASHES);
    } else {
      assert.match(said, /pgwarden: DROP /);
      ok(`${name} is refused`);
    }
  }
}

// What `migrate dev` sends where its engine runs, statement by statement.
async function dev() {
  const shadow = `prisma_migrate_shadow_db_${randomUUID()}`;
  const at = new URL(url);
  at.pathname = `/${shadow}`;
  const own = new Client({ connectionString: url });
  await own.connect();
  await own.query('SELECT pg_advisory_lock(72707369)');
  await own.query(`CREATE DATABASE "${shadow}"`);
  const other = new Client({ connectionString: String(at) });
  await other.connect();
  for (const text of ['CREATE SCHEMA IF NOT EXISTS "public"', ...Object.values(ADDITIVE)]) await other.query(text);
  const seen = await other.query("SELECT tbl.relname AS table_name FROM pg_class AS tbl INNER JOIN pg_namespace AS namespace ON namespace.oid = tbl.relnamespace WHERE tbl.relkind = 'r' AND namespace.nspname = ANY ( $1 )", [['public']]);
  assert.deepEqual(seen.rows, [{ table_name: 'Note' }]);
  await other.end();
  // The server may still be ending that connection.
  for (let round = 0; ; round += 1) {
    try {
      await own.query(`DROP DATABASE IF EXISTS "${shadow}"`);
      break;
    } catch (error) {
      assert.ok(error.code === '55006' && round < 100, error);
      await new Promise((done) => setTimeout(done, 50));
    }
  }
  await own.query(NEXT['0004_more']);
  await own.end();
  await unlocked();
}

async function everything() {
  write({ ...ADDITIVE, ...DESTROYS });
  prisma(true, 'migrate', 'deploy');
  write(ADDITIVE);
  ok('migrate deploy: a destructive migration');
  for (const words of [['migrate', 'reset', '--force'], ['db', 'push', '--force-reset']]) {
    if (prisma(true, ...words, '--skip-generate') === undefined) skip(words.join(' '), CRASHES);
    else ok(words.join(' '));
  }
  skip('migrate dev', 'Prisma’s adapter drops its shadow database while it is still connected to it, without pgwarden too');
  await dev();
  ok('what migrate dev sends: its lock, a shadow database with all migrations, and the new one');
}

async function mayNot() {
  assert.match(prisma(false, 'migrate', 'deploy'), /pgwarden: /);
  assert.equal(await number("select count(*)::int as n from pg_class where relname = 'Note'"), 0);
  ok('migrate deploy is refused before it begins');
}

work.run(async () => {
  console.log('version Prisma Migrate', JSON.parse(fs.readFileSync(path.join(packages, 'node_modules/prisma/package.json'))).version);
  fs.writeFileSync(path.join(folder, 'prisma.config.mjs'), CONFIG);
  fs.writeFileSync(path.join(folder, 'schema.prisma'), SCHEMA);
  write(ADDITIVE);
  try {
    if (!work.mayCreate) return await mayNot();
    if (work.keeps !== 'all') {
      return skip('migrate', 'a transaction pooler leaves its session lock behind on some server connection; migrations belong on the direct endpoint');
    }
    await deploys();
    return await (work.role === 'unrestricted' ? everything() : refused());
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
