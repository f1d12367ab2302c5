// postgres.js: pipelined queries on few connections, prepared and not, cursors, COPY streams, LISTEN, cancel.
'use strict';
const assert = require('node:assert/strict');
const postgres = require('postgres');
const { pipeline } = require('node:stream/promises');
const { Readable } = require('node:stream');
const work = require('../node/work.cjs');
const { ok, skip, url, keeps, failure } = work;

// What the documentation of postgres.js says for a pooler that does not keep prepared statements.
const options = { max: 2, prepare: keeps !== 'nothing', onnotice: () => {}, fetch_types: true };
const sql = postgres(url, options);

async function reads() {
  assert.equal((await sql`select count(*)::int as n from items`)[0].n, 1000);
  const [row] = await sql`select name, details, tags from items where id = ${7}`;
  assert.deepEqual([row.name, row.details, [...row.tags]], ['item 7', { n: 7, even: false }, ['t1', 'ü']]);
  ok('parameters and types');
  const all = await Promise.all(Array.from({ length: 100 }, (_, n) => sql`select twice(${n}) as n`));
  assert.equal(all[99][0].n, 198);
  ok('100 queries pipelined on two connections');
  assert.equal((await sql`select id from items where id in ${sql([1, 2, 3])}`).length, 3);
  assert.equal((await sql.unsafe('select 1; select 2')).length, 2);
  ok('lists, several statements in one query');
  const error = await failure(sql`select nope from items`, 'unknown column');
  assert.deepEqual([error.code, error.position], ['42703', '8']);
  ok('error position, and going on after it');
  let total = 0;
  for await (const rows of sql`select id from items`.cursor(100)) for (const { id } of rows) total += id;
  assert.equal(total, 500500);
  ok('cursor');
  const described = await sql`select id, name from items where id = ${1}`.describe();
  assert.deepEqual(described.columns.map(({ name }) => name), ['id', 'name']);
  ok('describe');
  let lines = 0;
  for await (const chunk of await sql`copy (select id from items) to stdout`.readable()) lines += chunk.toString().split('\n').length - 1;
  assert.equal(lines, 1000);
  ok('COPY TO STDOUT');
  await sql.begin('isolation level repeatable read read only', async (tx) => {
    assert.equal((await tx`show transaction_isolation`)[0].transaction_isolation, 'repeatable read');
    await failure(tx.savepoint((inner) => inner`select 1 / 0`), 'division by zero');
    assert.equal((await tx`select 1 as n`)[0].n, 1);
  });
  ok('transaction options and savepoints');
}

async function cancels() {
  const running = sql.unsafe(work.HEAVY);
  const failed = failure(running, 'heavy query');
  await new Promise((done) => setTimeout(done, 500));
  running.cancel();
  assert.equal((await failed).code, '57014');
  assert.equal((await sql`select 1 as n`)[0].n, 1);
  ok('cancel');
}

async function writes() {
  await sql.begin(async (tx) => {
    const items = Array.from({ length: 50 }, (_, n) => ({ name: `js ${n}`, details: { n } }));
    const made = await tx`insert into items ${tx(items, 'name', 'details')} returning id`;
    assert.equal(made.count, 50);
    assert.equal((await tx`update items set ${tx({ price: 3 }, 'price')} where id = ${made[0].id}`).count, 1);
    assert.equal((await tx`delete from items where id = ${made[1].id}`).count, 1);
  });
  ok('bulk insert, update, delete in a transaction');
  await pipeline(Readable.from(Array.from({ length: 200 }, (_, n) => `1\tcopied ${n}\n`)),
    await sql`copy parts (item_id, label) from stdin`.writable());
  assert.equal((await sql`select count(*)::int as n from parts where label like 'copied%'`)[0].n, 200);
  ok('COPY FROM STDIN');
}

async function notifies() {
  if (keeps !== 'all') return skip('listen and notify', 'a transaction pooler keeps no LISTEN');
  let hear;
  const heard = new Promise((done) => { hear = done; });
  await sql.listen('news', hear);
  await sql.notify('news', 'hello');
  assert.equal(await heard, 'hello');
  ok('listen and notify');
}

async function refusals() {
  for (const refusal of work.refusals()) {
    work.refused(await failure(sql.unsafe(refusal.sql), refusal.sql), refusal);
    work.refused(await failure(sql.unsafe(refusal.sql, [], { prepare: options.prepare }), refusal.sql), refusal);
    work.refused(await failure(sql.begin((tx) => tx.unsafe(refusal.sql)), refusal.sql), refusal);
    assert.equal((await sql`select ${1}::int as n`)[0].n, 1);
  }
  // Refused among others that were sent before its answer came.
  if (work.refusals().length) {
    const [refusal] = work.refusals();
    const mixed = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => (n % 5 === 2 ? sql.unsafe(refusal.sql) : sql`select ${n}::int as n`)));
    mixed.forEach(({ status, value, reason }, n) => (n % 5 === 2 ? work.refused(reason, refusal) : assert.deepEqual([status, value[0].n], ['fulfilled', n])));
    ok('refusals, alone, in transactions and among pipelined queries');
  }
  assert.equal((await sql`select count(*)::int as n from items where name = 'never'`)[0].n, 0);
}

work.run(async () => {
  work.version('postgres');
  await reads();
  await cancels();
  if (work.mayWrite) await writes();
  if (work.mayNotify) await notifies();
  await refusals();
  await sql.end();
});
