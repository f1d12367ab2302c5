// Sequelize on node-postgres: models, associations, managed transactions, introspection, sync.
'use strict';
const assert = require('node:assert/strict');
const { DataTypes, Sequelize, Transaction } = require('sequelize');
const work = require('../node/work.cjs');
const { ok, url, failure, version } = work;

const db = new Sequelize(url.split('?')[0], { dialect: 'postgres', logging: false, pool: { max: 3 } });
const plain = { timestamps: false };
const Item = db.define('item', { name: DataTypes.TEXT, price: { type: DataTypes.DECIMAL, defaultValue: 1 }, details: { type: DataTypes.JSONB, defaultValue: {} } }, { ...plain, tableName: 'items' });
const Part = db.define('part', { label: DataTypes.TEXT, itemId: { type: DataTypes.INTEGER, field: 'item_id' } }, { ...plain, tableName: 'parts' });
Item.hasMany(Part, { foreignKey: 'itemId' });
Part.belongsTo(Item, { foreignKey: 'itemId' });

async function reads() {
  await db.authenticate();
  assert.equal(await Item.count(), 1000);
  const item = await Item.findByPk(7, { include: Part });
  assert.deepEqual([item.name, item.details, item.parts.length], ['item 7', { n: 7, even: false }, 1]);
  assert.equal((await Item.findAndCountAll({ where: { details: { even: true } }, limit: 5, order: [['id', 'DESC']] })).count, 500);
  ok('models, associations, JSON');
  const isolated = { isolationLevel: Transaction.ISOLATION_LEVELS.REPEATABLE_READ };
  await db.transaction(isolated, async (transaction) => {
    const [[row]] = await db.query('select twice(:n) as n', { replacements: { n: 21 }, transaction });
    assert.equal(row.n, 42);
    const [[bound]] = await db.query('select $1::int as n', { bind: [7], transaction });
    assert.equal(bound.n, 7);
  });
  ok('transaction with an isolation level, replacements and bind');
  assert.ok((await db.getQueryInterface().describeTable('items')).price);
  assert.ok((await db.getQueryInterface().showAllTables()).some((table) => (table.tableName ?? table) === 'parts'));
  assert.equal((await db.getQueryInterface().showIndex('parts')).length, 2);
  ok('introspection');
}

async function writes() {
  const item = await Item.create({ name: 'new', parts: [{ label: 'a' }, { label: 'b' }] }, { include: Part });
  await Part.bulkCreate(Array.from({ length: 50 }, (_, n) => ({ itemId: item.id, label: `p${n}` })));
  await item.increment('price', { by: 2 });
  assert.equal((await Item.upsert({ id: item.id, name: 'kept' }))[0].name, 'kept');
  assert.equal(await Part.destroy({ where: { itemId: item.id } }), 52);
  await failure(db.transaction(async (transaction) => {
    await Item.create({ name: 'rolled back' }, { transaction });
    throw new Error('changed my mind');
  }), 'rollback');
  assert.equal(await Item.count({ where: { name: 'rolled back' } }), 0);
  ok('create with children, bulkCreate, increment, upsert, destroy, rollback');
}

async function creates() {
  const Note = db.define('note', { body: DataTypes.TEXT, kind: DataTypes.STRING(20) }, { ...plain, tableName: 'notes', indexes: [{ fields: ['kind'] }] });
  await Note.sync();
  await db.getQueryInterface().addColumn('notes', 'done', DataTypes.BOOLEAN);
  await Note.create({ body: 'x', kind: 'y' });
  ok('sync and addColumn');
  const drop = db.getQueryInterface().removeColumn('notes', 'done');
  if (work.role === 'unrestricted') await drop;
  else assert.match((await failure(drop, 'removeColumn')).message, /pgwarden: /);
  ok(work.role === 'unrestricted' ? 'removeColumn' : 'removeColumn is refused');
}

async function refusals() {
  for (const refusal of work.refusals()) {
    const error = await failure(db.query(refusal.sql), refusal.sql);
    work.refused(error.original, refusal);
    assert.ok(error.original.detail && error.original.hint && error.message.startsWith('pgwarden: '));
  }
  if (work.refusals().length) ok('refusals');
}

work.run(async () => {
  version('sequelize');
  await reads();
  if (work.mayWrite) await writes();
  if (work.mayCreate) await creates();
  await refusals();
  await db.close();
});
