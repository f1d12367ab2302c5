// Drizzle on node-postgres: queries with relations, prepared ones, transactions, and its migrator.
'use strict';
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const assert = require('node:assert/strict');
const { Pool } = require('pg');
const { drizzle } = require('drizzle-orm/node-postgres');
const { migrate } = require('drizzle-orm/node-postgres/migrator');
const { eq, relations, sql } = require('drizzle-orm');
const { integer, jsonb, numeric, pgTable, serial, text } = require('drizzle-orm/pg-core');
const work = require('../node/work.cjs');
const { ok, skip, url, keeps, failure, version } = work;

const items = pgTable('items', {
  id: serial('id').primaryKey(), name: text('name').notNull(), price: numeric('price'), details: jsonb('details'),
});
const parts = pgTable('parts', {
  id: serial('id').primaryKey(), itemId: integer('item_id').references(() => items.id), label: text('label').notNull(),
});
const schema = {
  items, parts,
  itemRelations: relations(items, ({ many }) => ({ parts: many(parts) })),
  partRelations: relations(parts, ({ one }) => ({ item: one(items, { fields: [parts.itemId], references: [items.id] }) })),
};
const pool = new Pool({ connectionString: url, max: 3 });
const db = drizzle(pool, { schema });

async function reads() {
  assert.equal(await db.$count(items), 1000);
  const found = await db.query.items.findFirst({ where: eq(items.id, 7), with: { parts: true } });
  assert.deepEqual([found.name, found.details, found.parts.length], ['item 7', { n: 7, even: false }, 1]);
  const joined = await db.select({ name: items.name, label: parts.label }).from(items).innerJoin(parts, eq(parts.itemId, items.id)).limit(5);
  assert.equal(joined.length, 5);
  ok('relational queries and joins');
  if (keeps === 'nothing') skip('prepared queries', 'PgBouncer 1.18 keeps none in transaction mode');
  else {
    const byId = db.select().from(items).where(eq(items.id, sql.placeholder('id'))).prepare('by_id');
    for (let id = 1; id <= 5; id += 1) assert.equal((await byId.execute({ id }))[0].name, `item ${id}`);
    ok('prepared queries');
  }
  assert.equal((await db.transaction((tx) => tx.execute(sql`select twice(21) as n`), { isolationLevel: 'serializable' })).rows[0].n, 42);
  ok('transaction with an isolation level');
}

async function writes() {
  await db.transaction(async (tx) => {
    const [made] = await tx.insert(items).values({ name: 'new', details: { a: 1 } }).returning();
    await tx.insert(parts).values(Array.from({ length: 50 }, (_, n) => ({ itemId: made.id, label: `p${n}` })));
    await failure(tx.transaction(async (inner) => {
      await inner.update(items).set({ name: 'undone' }).where(eq(items.id, made.id));
      inner.rollback();
    }), 'rollback');
    await tx.insert(items).values({ id: made.id, name: 'kept' }).onConflictDoUpdate({ target: items.id, set: { name: 'kept' } });
    assert.equal((await tx.delete(parts).where(eq(parts.itemId, made.id))).rowCount, 50);
    assert.equal((await tx.select().from(items).where(eq(items.id, made.id)))[0].name, 'kept');
  });
  ok('transaction, savepoint, insert, upsert, delete');
}

// A folder of migrations as drizzle-kit writes it.
function migrations(folder, files) {
  fs.mkdirSync(path.join(folder, 'meta'), { recursive: true });
  const entries = Object.keys(files).map((tag, idx) => ({ idx, version: '7', when: 1700000000000 + idx, tag, breakpoints: true }));
  fs.writeFileSync(path.join(folder, 'meta/_journal.json'), JSON.stringify({ version: '7', dialect: 'postgresql', entries }));
  for (const [tag, text] of Object.entries(files)) fs.writeFileSync(path.join(folder, `${tag}.sql`), text);
}

async function migrates() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'drizzle-'));
  const BREAK = '\n--> statement-breakpoint\n';
  const files = {
    '0000_notes': `CREATE TABLE "notes" ("id" serial PRIMARY KEY, "body" text);${BREAK}CREATE INDEX "notes_body" ON "notes" ("body");`,
    '0001_done': 'ALTER TABLE "notes" ADD COLUMN "done" boolean;',
  };
  const run = (more) => {
    migrations(folder, { ...files, ...more });
    return migrate(db, { migrationsFolder: folder });
  };
  const applied = async () => (await pool.query('select count(*)::int as n from drizzle.__drizzle_migrations')).rows[0].n;
  await run({});
  assert.equal(await applied(), 2);
  ok('migrate: additive migrations');
  const destroys = { '0002_body': `INSERT INTO "notes" ("body") VALUES ('half');${BREAK}ALTER TABLE "notes" DROP COLUMN "body";` };
  if (work.role === 'unrestricted') {
    await run(destroys);
    ok('migrate: a destructive migration');
  } else {
    const error = await failure(run(destroys), 'destructive migration');
    work.refused(error.cause ?? error, { sql: 'DROP COLUMN', states: ['42501'] });
    assert.deepEqual([await applied(), await db.$count(sql`notes`)], [2, 0]);
    await run({ '0002_more': 'ALTER TABLE "notes" ADD COLUMN "more" integer;' });
    assert.equal(await applied(), 3);
    ok('migrate: a destructive migration is refused whole, and the next deploy goes on');
  }
  fs.rmSync(folder, { recursive: true });
}

async function refusals() {
  for (const refusal of work.refusals()) {
    const error = await failure(db.execute(sql.raw(refusal.sql)), refusal.sql);
    work.refused(error.cause, refusal);
    assert.ok(error.cause.detail && error.cause.hint);
  }
  if (work.refusals().length) ok('refusals, as the cause of Drizzle’s own error');
}

work.run(async () => {
  version('drizzle-orm');
  await reads();
  if (work.mayWrite) await writes();
  if (work.mayCreate) await migrates();
  await refusals();
  await pool.end();
});
