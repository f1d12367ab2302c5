// Knex on node-postgres: builder queries, streams, transactions, and its migrations with their lock.
'use strict';
const assert = require('node:assert/strict');
const knex = require('knex');
const work = require('../node/work.cjs');
const { ok, url, failure, version } = work;

const db = knex({ client: 'pg', connection: url, pool: { min: 0, max: 3 } });

async function reads() {
  assert.equal((await db('items').count({ n: '*' }))[0].n, '1000');
  assert.deepEqual((await db('items').where({ id: 7 }).first('details')).details, { n: 7, even: false });
  assert.equal((await db('items').join('parts', 'parts.item_id', 'items.id').whereIn('items.id', [1, 2, 3]).select('label')).length, 3);
  ok('queries, joins, types');
  let total = 0;
  for await (const row of db('items').select('id').stream()) total += row.id;
  assert.equal(total, 500500);
  ok('stream');
  await db.transaction(async (trx) => {
    await failure(trx.transaction((inner) => inner.raw('select 1 / 0')), 'savepoint');
    assert.equal((await trx.raw('select twice(?) as n', [21])).rows[0].n, 42);
  }, { isolationLevel: 'repeatable read' });
  ok('transaction, savepoint, isolation level');
  assert.ok(await db.schema.hasTable('items'));
  assert.ok((await db('items').columnInfo()).price);
  ok('schema questions');
}

async function writes() {
  const [made] = await db('items').insert({ name: 'new', details: { a: 1 } }).returning('id');
  await db.batchInsert('parts', Array.from({ length: 100 }, (_, n) => ({ item_id: made.id, label: `p${n}` })), 30);
  assert.equal(await db('items').where(made).update({ price: 2 }), 1);
  await db('items').insert({ id: made.id, name: 'kept' }).onConflict('id').merge();
  assert.equal(await db('parts').where({ item_id: made.id }).del(), 100);
  ok('insert, batch, update, upsert, delete');
}

// Migrations as functions, by name.
function source(list) {
  return { migrationSource: { getMigrations: async () => Object.keys(list), getMigrationName: (name) => name, getMigration: async (name) => ({ up: list[name], down: () => {} }) } };
}

async function migrates() {
  const list = {
    '01_notes': (trx) => trx.schema.createTable('notes', (t) => { t.increments(); t.text('body').index(); }),
    '02_done': (trx) => trx.schema.alterTable('notes', (t) => { t.boolean('done'); }),
  };
  await db.migrate.latest(source(list));
  ok('migrate: additive migrations');
  const half = async (trx) => {
    await trx('notes').insert({ body: 'half' });
    await trx.schema.alterTable('notes', (t) => { t.dropColumn('body'); });
  };
  if (work.role === 'unrestricted') {
    await db.migrate.latest(source({ ...list, '03_body': half }));
    return ok('migrate: a destructive migration');
  }
  const error = await failure(db.migrate.latest(source({ ...list, '03_body': half })), 'destructive migration');
  assert.match(error.message, /pgwarden: ALTER TABLE … DROP COLUMN/);
  assert.equal((await db('notes').count({ n: '*' }))[0].n, '0');
  assert.equal((await db('knex_migrations_lock').first()).is_locked, 0);
  await db.migrate.latest(source({ ...list, '03_more': (trx) => trx.schema.alterTable('notes', (t) => { t.integer('more'); }) }));
  assert.equal((await db('knex_migrations').count({ n: '*' }))[0].n, '3');
  return ok('migrate: a destructive migration is refused whole, the lock is free, and the next deploy goes on');
}

async function refusals() {
  for (const refusal of work.refusals()) {
    const error = await failure(db.raw(refusal.sql), refusal.sql);
    assert.ok(error.message.includes('pgwarden: ') && refusal.states.includes(error.code) && error.detail && error.hint, error.message);
  }
  if (work.refusals().length) ok('refusals');
}

work.run(async () => {
  version('knex');
  await reads();
  if (work.mayWrite) await writes();
  if (work.mayCreate) await migrates();
  await refusals();
  await db.destroy();
});
