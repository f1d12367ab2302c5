// Prisma Client with its node-postgres adapter: queries with relations, transactions of both kinds, raw SQL.
'use strict';
const path = require('node:path');
const assert = require('node:assert/strict');
const { PrismaPg } = require('@prisma/adapter-pg');
const work = require('../node/work.cjs');
const { ok, url, failure } = work;
const { PrismaClient } = require(path.join(__dirname, '../../../target/clients/node/prisma'));

const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) });

async function reads() {
  assert.equal(await prisma.item.count(), 1000);
  const item = await prisma.item.findUnique({ where: { id: 7 }, include: { parts: true } });
  assert.deepEqual([item.name, item.details, item.parts.length], ['item 7', { n: 7, even: false }, 1]);
  const page = await prisma.item.findMany({ where: { name: { contains: '9' }, tags: { has: 'ü' } }, orderBy: { id: 'desc' }, skip: 5, take: 10, select: { id: true } });
  assert.equal(page.length, 10);
  ok('find, include, filter, sort, page');
  const sums = await prisma.item.aggregate({ _sum: { price: true }, _max: { id: true } });
  assert.deepEqual([Number(sums._sum.price), sums._max.id], [500500, 1000]);
  assert.equal((await prisma.part.groupBy({ by: ['itemId'], _count: true, orderBy: { itemId: 'asc' }, take: 3 })).length, 3);
  ok('aggregate and group');
  const raw = await prisma.$queryRaw`select twice(${21}::int) as n`;
  assert.equal(raw[0].n, 42);
  ok('raw query');
  const [count, first] = await prisma.$transaction([prisma.part.count(), prisma.item.findFirst({ orderBy: { id: 'asc' } })]);
  assert.deepEqual([count, first.id], [1000, 1]);
  const isolated = await prisma.$transaction((tx) => tx.item.count(), { isolationLevel: 'RepeatableRead' });
  assert.equal(isolated, 1000);
  ok('batch and interactive transactions');
}

async function writes() {
  const made = await prisma.item.create({ data: { name: 'new', details: { a: 1 }, parts: { create: [{ label: 'a' }, { label: 'b' }] } }, include: { parts: true } });
  assert.equal(made.parts.length, 2);
  assert.equal(Number((await prisma.item.update({ where: { id: made.id }, data: { price: { increment: 4 } } })).price), 5);
  assert.equal((await prisma.item.upsert({ where: { id: made.id }, create: { name: 'x' }, update: { name: 'kept' } })).name, 'kept');
  assert.equal((await prisma.part.createMany({ data: [{ itemId: made.id, label: 'c' }, { itemId: made.id, label: 'd' }] })).count, 2);
  assert.equal((await prisma.part.updateMany({ where: { itemId: made.id }, data: { label: 'z' } })).count, 4);
  assert.equal((await prisma.part.deleteMany({ where: { itemId: made.id } })).count, 4);
  await prisma.item.delete({ where: { id: made.id } });
  ok('create with children, update, upsert, many, delete');
  await failure(prisma.$transaction(async (tx) => {
    await tx.item.create({ data: { name: 'rolled back' } });
    throw new Error('changed my mind');
  }), 'rollback');
  assert.equal(await prisma.item.count({ where: { name: 'rolled back' } }), 0);
  ok('rollback of an interactive transaction');
}

// What a refusal looks like in Prisma's own error: the message is in it, whatever Prisma wraps around.
async function refusals() {
  const attempts = {
    'read-only': [() => prisma.item.create({ data: { name: 'never' } }), () => prisma.part.deleteMany({}), () => prisma.item.update({ where: { id: 1 }, data: { name: 'never' } })],
    application: [() => prisma.part.deleteMany({}), () => prisma.item.updateMany({ data: { name: 'never' } })],
    migrations: [() => prisma.part.deleteMany({})],
  }[work.role] ?? [];
  for (const attempt of attempts) {
    const error = await failure(attempt(), attempt);
    assert.match(String(error.message), /pgwarden: /);
    assert.equal((await prisma.$queryRaw`select 1 as n`)[0].n, 1);
  }
  for (const { sql } of work.refusals()) {
    assert.match(String((await failure(prisma.$executeRawUnsafe(sql), sql)).message), /pgwarden: /);
  }
  assert.equal(await prisma.item.count({ where: { name: 'never' } }), 0);
  if (attempts.length) ok('refusals in Prisma’s own errors');
}

work.run(async () => {
  work.version('@prisma/client');
  await reads();
  if (work.mayWrite) await writes();
  await refusals();
  await prisma.$disconnect();
});
