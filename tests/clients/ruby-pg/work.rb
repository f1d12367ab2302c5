# Ruby pg: parameters, prepared statements, single-row mode, COPY, transactions, LISTEN, cancel.
require 'pg'
require 'uri'

URL, ROLE, KEEPS = ARGV
HEAVY = 'select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b'
CLIENTS = File.expand_path('..', __dir__)

def ok(feature) = puts("ok #{feature}")
def skip(feature, reason) = puts("skip #{feature}: #{reason}")

def equal(found, expected, what)
  raise "#{what}: expected #{expected.inspect}, found #{found.inspect}" unless found == expected
end

def failure
  yield
rescue PG::Error => error
  error
else
  raise 'no error'
end

def reads(conn)
  equal(conn.exec('select count(*) from items').getvalue(0, 0), '1000', 'count')
  row = conn.exec_params('select name, price from items where id = $1', [7]).first
  equal(row, { 'name' => 'item 7', 'price' => '7.00' }, 'row')
  conn.type_map_for_results = PG::BasicTypeMapForResults.new(conn)
  equal(conn.exec_params('select tags, made from items where id = $1', [7])[0]['tags'], %w[t1 ü], 'typed')
  ok('parameters and types')
  error = failure { conn.exec('select nope from items') }
  equal(error.result.error_field(PG::Result::PG_DIAG_STATEMENT_POSITION), '8', 'error position')
  equal(conn.exec('select 1').getvalue(0, 0), 1, 'after an error')
  ok('error position, and going on after it')
  if KEEPS == 'nothing'
    skip('prepared statements', 'PgBouncer 1.18 keeps none in transaction mode')
  else
    conn.prepare('by_id', 'select name from items where id = $1')
    equal((1..10).map { |n| conn.exec_prepared('by_id', [n]).getvalue(0, 0) }, (1..10).map { |n| "item #{n}" }, 'prepared')
    ok('prepared statement')
  end
  conn.send_query('select id from items')
  conn.set_single_row_mode
  equal(conn.get_result.stream_each.sum { |one| one['id'] }, 500_500, 'single rows')
  conn.get_result
  ok('single-row mode')
  out = +''
  conn.copy_data('copy (select id from items) to stdout') { while (line = conn.get_copy_data) do out << line end }
  equal(out.count("\n"), 1000, 'copy out')
  ok('COPY TO STDOUT')
end

def pipelines(conn)
  conn.enter_pipeline_mode
  20.times { |n| conn.send_query_params('select $1::int as n', [n]) }
  conn.pipeline_sync
  found = Array.new(20) { conn.get_result.getvalue(0, 0).to_i.tap { conn.get_result } }
  equal(conn.get_result.result_status, PG::PGRES_PIPELINE_SYNC, 'sync')
  conn.exit_pipeline_mode
  equal(found, (0...20).to_a, 'pipeline')
  ok('pipeline mode')
end

def cancels(conn)
  conn.send_query(HEAVY)
  sleep 0.5
  conn.cancel
  equal(failure { conn.get_last_result }.class, PG::QueryCanceled, 'cancelled')
  ok('cancel')
end

def writes(conn)
  conn.transaction do
    made = conn.exec_params('insert into items (name) values ($1) returning id', ['new']).getvalue(0, 0)
    conn.exec('savepoint here')
    failure { conn.exec("insert into parts (item_id, label) values (999999, 'none')") }
    conn.exec('rollback to here')
    equal(conn.exec_params('update items set price = 2 where id = $1', [made]).cmd_tuples, 1, 'updated')
  end
  conn.copy_data('copy parts (item_id, label) from stdin', PG::TextEncoder::CopyRow.new) do
    200.times { |n| conn.put_copy_data(['1', "ruby #{n}"]) }
  end
  equal(conn.exec("delete from parts where label like 'ruby%'").cmd_tuples, 200, 'deleted')
  ok('transaction, savepoint, insert, update, COPY FROM STDIN, delete')
end

def notifies(conn)
  return skip('listen and notify', 'a transaction pooler keeps no LISTEN') unless KEEPS == 'all'

  conn.exec('listen news')
  conn.exec("notify news, 'hello'")
  heard = nil
  conn.wait_for_notify(10) { |_, _, payload| heard = payload }
  equal(heard, 'hello', 'notification')
  ok('listen and notify')
end

def refusals(conn)
  rows = File.readlines("#{CLIENTS}/refusals.tsv", chomp: true).map { |line| line.split("\t") }.select { |row| row[0] == ROLE }
  rows.each do |_, states, sql|
    fields = failure { conn.exec(sql) }.result
    found = fields.error_field(PG::Result::PG_DIAG_SQLSTATE)
    message = fields.error_field(PG::Result::PG_DIAG_MESSAGE_PRIMARY)
    raise "#{sql}: #{found} #{message}" unless states.split(',').include?(found) && message.start_with?('pgwarden: ')

    failure { conn.transaction { conn.exec('select 1'); conn.exec(sql) } }
    equal(conn.exec('select 1').getvalue(0, 0).to_i, 1, 'after a refusal')
  end
  ok('refusals, also in a transaction') unless rows.empty?
end

puts "version ruby-pg #{PG::VERSION}"
conn = PG.connect(URL)
reads(conn)
pipelines(conn)
cancels(conn)
writes(conn) unless ROLE == 'read-only'
notifies(conn) if %w[unrestricted application].include?(ROLE)
refusals(conn)
conn.close
