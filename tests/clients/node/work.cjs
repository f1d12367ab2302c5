// What the Node clients share: arguments, the report, and what a role must be refused.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const assert = require('node:assert/strict');

const HEAVY = 'select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b';
const [url, role, keeps] = process.argv.slice(2);

// Pairs of a statement that must be refused and the SQLSTATEs it may be refused with.
function refusals() {
  const text = fs.readFileSync(path.join(__dirname, '..', 'refusals.tsv'), 'utf8');
  return text.split('\n').filter((line) => line && !line.startsWith('#')).map((line) => line.split('\t'))
    .filter(([name]) => name === role).map(([, states, sql]) => ({ sql, states: states.split(',') }));
}

// Checks that an error is pgwarden's refusal.
function refused(error, { sql, states }) {
  assert.ok(states.includes(error.code) && error.message.startsWith('pgwarden: '),
    `${sql}: expected a refusal ${states}, found ${error.code}: ${error.message}`);
}

// The error that a promise ends in.
async function failure(promise, what) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`no error: ${what}`);
}

// The version of an installed package.
function installed(name) {
  return JSON.parse(fs.readFileSync(path.join(process.env.NODE_PATH, name, 'package.json'), 'utf8')).version;
}

// Runs the program's main function and ends with its outcome.
function run(main) {
  main().then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
  });
}

module.exports = {
  HEAVY, url, role, keeps, refusals, refused, failure, run,
  mayWrite: role !== 'read-only',
  mayCreate: role === 'unrestricted' || role === 'migrations',
  mayNotify: role === 'unrestricted' || role === 'application',
  ok: (feature) => console.log('ok', feature),
  skip: (feature, reason) => console.log(`skip ${feature}: ${reason}`),
  version: (name) => console.log('version', name, installed(name)),
};
