// TypeORM on node-postgres: entities, relations, query runner, streams, and its migrations.
'use strict';
require('reflect-metadata');
const assert = require('node:assert/strict');
const { DataSource, EntitySchema } = require('typeorm');
const work = require('../node/work.cjs');
const { ok, url, failure, version } = work;

const Item = new EntitySchema({
  name: 'Item', tableName: 'items',
  columns: { id: { type: Number, primary: true, generated: true }, name: { type: 'text' }, price: { type: 'numeric', default: 1 }, details: { type: 'jsonb', default: {} } },
  relations: { parts: { type: 'one-to-many', target: 'Part', inverseSide: 'item', cascade: true } },
});
const Part = new EntitySchema({
  name: 'Part', tableName: 'parts',
  columns: { id: { type: Number, primary: true, generated: true }, label: { type: 'text' } },
  relations: { item: { type: 'many-to-one', target: 'Item', inverseSide: 'parts', joinColumn: { name: 'item_id' } } },
});

// A migration as a class: TypeORM wants a time at the end of its name.
function migration(name, ...statements) {
  return { [name]: class { constructor() { this.name = name; } async up(runner) { for (const sql of statements) await runner.query(sql); } async down() {} } }[name];
}
const ADDITIVE = [
  migration('Notes1700000000001', 'CREATE TABLE "notes" ("id" serial PRIMARY KEY, "body" text)', 'CREATE INDEX "notes_body" ON "notes" ("body")'),
  migration('Done1700000000002', 'ALTER TABLE "notes" ADD "done" boolean'),
];
const DESTROYS = migration('Body1700000000003', "INSERT INTO notes (body) VALUES ('half')", 'ALTER TABLE "notes" DROP COLUMN "body"');
const NEXT = migration('More1700000000004', 'ALTER TABLE "notes" ADD "more" integer');

function source(migrations = []) {
  return new DataSource({ type: 'postgres', url, entities: [Item, Part], migrations, poolSize: 3, installExtensions: false }).initialize();
}

async function reads(db) {
  assert.equal(await db.getRepository('Item').count(), 1000);
  const item = await db.getRepository('Item').findOne({ where: { id: 7 }, relations: { parts: true } });
  assert.deepEqual([item.name, item.details, item.parts.length], ['item 7', { n: 7, even: false }, 1]);
  const [, count] = await db.getRepository('Item').createQueryBuilder('i').leftJoinAndSelect('i.parts', 'p').where('i.name like :like', { like: '%9%' }).take(5).getManyAndCount();
  assert.equal(count, 271);
  ok('repositories, relations, query builder');
  await db.transaction('REPEATABLE READ', async (manager) => {
    await failure(manager.transaction((inner) => inner.query('select 1 / 0')), 'savepoint');
    assert.equal((await manager.query('select twice($1) as n', [21]))[0].n, 42);
  });
  ok('transaction, savepoint, isolation level');
  const runner = db.createQueryRunner();
  assert.equal((await runner.getTable('parts')).foreignKeys.length, 1);
  await runner.release();
  ok('introspection');
}

async function writes(db) {
  const items = db.getRepository('Item');
  const item = await items.save({ name: 'new', parts: [{ label: 'a' }, { label: 'b' }] });
  await db.getRepository('Part').insert(Array.from({ length: 50 }, (_, n) => ({ item: { id: item.id }, label: `p${n}` })));
  await items.increment({ id: item.id }, 'price', 2);
  await items.update({ id: item.id }, { name: 'kept' });
  assert.equal((await db.getRepository('Part').delete({ item: { id: item.id } })).affected, 52);
  assert.equal((await items.findOneBy({ id: item.id })).name, 'kept');
  ok('save with children, insert, increment, update, delete');
}

async function deploy(migrations) {
  const db = await source(migrations);
  try {
    return await db.runMigrations({ transaction: 'all' });
  } finally {
    await db.destroy();
  }
}

async function migrates(db) {
  await deploy(ADDITIVE);
  ok('migrations: additive ones');
  if (work.role === 'unrestricted') {
    await deploy([...ADDITIVE, DESTROYS]);
    return ok('migrations: a destructive one');
  }
  work.refused(await failure(deploy([...ADDITIVE, DESTROYS]), 'destructive'), { sql: 'DROP COLUMN', states: ['42501'] });
  assert.equal((await db.query('select count(*)::int as n from notes'))[0].n, 0);
  await deploy([...ADDITIVE, NEXT]);
  assert.equal((await db.query('select count(*)::int as n from migrations'))[0].n, 3);
  return ok('migrations: a destructive one is refused whole, and the next deploy goes on');
}

async function refusals(db) {
  for (const refusal of work.refusals()) {
    const error = await failure(db.query(refusal.sql), refusal.sql);
    work.refused(error.driverError, refusal);
    assert.ok(error.message.startsWith('pgwarden: ') && error.detail && error.hint);
  }
  if (work.refusals().length) ok('refusals');
}

work.run(async () => {
  version('typeorm');
  const db = await source();
  await reads(db);
  if (work.mayWrite) await writes(db);
  if (work.mayCreate) await migrates(db);
  await refusals(db);
  await db.destroy();
});
