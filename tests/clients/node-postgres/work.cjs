// node-postgres: pool, named statements, cursors, COPY streams, transactions, LISTEN, cancel by a second connection.
'use strict';
const assert = require('node:assert/strict');
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const copy = require('pg-copy-streams');
const { pipeline } = require('node:stream/promises');
const { Readable, Writable } = require('node:stream');
const work = require('../node/work.cjs');
const { ok, skip, url, keeps, failure } = work;

async function connected(use) {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

async function reads() {
  await connected(async (client) => {
    assert.equal((await client.query('select count(*)::int as n from items')).rows[0].n, 1000);
    const { rows } = await client.query('select name, details, tags, made from items where id = $1', [7]);
    assert.deepEqual([rows[0].name, rows[0].details, rows[0].tags], ['item 7', { n: 7, even: false }, ['t1', 'ü']]);
    ok('parameters and types');
    const several = await client.query('select 1 as a; select 2 as b');
    assert.equal(several.length, 2);
    ok('several statements in one query');
    const error = await failure(client.query('select nope from items'), 'unknown column');
    assert.deepEqual([error.code, error.position], ['42703', '8']);
    assert.equal((await client.query('select 1 as n')).rows[0].n, 1);
    ok('error position, and going on after it');
    // Queued without waiting: node-postgres sends the next when the one before is done.
    const queued = await Promise.all(Array.from({ length: 50 }, (_, n) => client.query('select $1::int as n', [n])));
    assert.equal(queued[49].rows[0].n, 49);
    ok('queued queries');
    await client.query('begin');
    const cursor = client.query(new Cursor('select id from items order by id'));
    assert.equal((await cursor.read(10)).length, 10);
    assert.equal((await cursor.read(1000)).length, 990);
    await cursor.close();
    await client.query('commit');
    ok('cursor with row limits');
    let bytes = 0;
    await pipeline(client.query(copy.to('copy items to stdout')),
      new Writable({ write(chunk, _, done) { bytes += chunk.length; done(); } }));
    assert.ok(bytes > 50000);
    ok('COPY TO STDOUT');
  });
}

async function named() {
  if (keeps === 'nothing') return skip('named statements', 'PgBouncer 1.18 keeps none in transaction mode');
  await connected(async (client) => {
    for (let n = 0; n < 5; n += 1) {
      const { rows } = await client.query({ name: 'by id', text: 'select name from items where id = $1', values: [n + 1] });
      assert.equal(rows[0].name, `item ${n + 1}`);
    }
  });
  ok('named statements');
}

async function cancels() {
  await connected(async (client) => {
    const pid = client.processID;
    const running = failure(client.query(work.HEAVY), 'heavy query');
    await new Promise((done) => setTimeout(done, 500));
    const canceller = new Client({ connectionString: url });
    canceller.connection.on('error', () => {});
    await new Promise((done) => {
      canceller.connection.once('connect', () => { canceller.connection.cancel(pid, client.secretKey); });
      canceller.connection.once('end', done);
      canceller.connection.connect(client.port, client.host);
    });
    assert.equal((await running).code, '57014');
    assert.equal((await client.query('select 1 as n')).rows[0].n, 1);
  });
  ok('cancel');
}

async function pools() {
  const pool = new Pool({ connectionString: url, max: 5 });
  const results = await Promise.all(Array.from({ length: 40 }, (_, n) => pool.query('select twice($1) as n', [n])));
  assert.equal(results[39].rows[0].n, 78);
  await pool.end();
  ok('pool');
}

async function writes() {
  await connected(async (client) => {
    await client.query('begin');
    const made = (await client.query("insert into items (name, details) values ($1, $2) returning id", ['new', { a: 1 }])).rows[0].id;
    assert.equal((await client.query('update items set price = 2 where id = $1', [made])).rowCount, 1);
    await client.query('savepoint here');
    await failure(client.query('insert into parts (item_id, label) values (999999, $1)', ['x']), 'foreign key');
    await client.query('rollback to here');
    await client.query('commit');
    const lines = Array.from({ length: 500 }, (_, n) => `${made}\tline ${n}\n`);
    await pipeline(Readable.from(lines), client.query(copy.from('copy parts (item_id, label) from stdin')));
    assert.equal((await client.query('delete from parts where item_id = $1', [made])).rowCount, 500);
  });
  ok('insert, update, savepoint, COPY FROM STDIN, delete');
}

async function notifies() {
  if (keeps !== 'all') return skip('listen and notify', 'a transaction pooler keeps no LISTEN');
  await connected(async (client) => {
    const heard = new Promise((done) => client.once('notification', (note) => done(note.payload)));
    await client.query('listen news');
    await client.query("notify news, 'hello'");
    assert.equal(await heard, 'hello');
  });
  ok('listen and notify');
}

async function refusals() {
  await connected(async (client) => {
    for (const refusal of work.refusals()) {
      work.refused(await failure(client.query(refusal.sql), refusal.sql), refusal);
      work.refused(await failure(client.query({ text: refusal.sql, values: [], queryMode: 'extended' }), refusal.sql), refusal);
      assert.equal((await client.query('select $1::int as n', [1])).rows[0].n, 1);
    }
    assert.equal((await client.query("select count(*)::int as n from items where name = 'never'")).rows[0].n, 0);
  });
  if (work.refusals().length) ok('refusals, simple and extended');
}

work.run(async () => {
  work.version('pg');
  await reads();
  await named();
  await cancels();
  await pools();
  if (work.mayWrite) await writes();
  if (work.mayNotify) await notifies();
  await refusals();
});
