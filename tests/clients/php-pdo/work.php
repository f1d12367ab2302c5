<?php
// PHP PDO (pdo_pgsql): native prepared statements under their names, emulated ones, transactions, COPY.
[$_, $url, $role, $keeps] = $argv;
$at = parse_url($url);
// What PDO's documentation says for a pooler that does not keep prepared statements.
$options = [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_EMULATE_PREPARES => $keeps === 'nothing'];
$db = new PDO("pgsql:host={$at['host']};port={$at['port']};dbname=" . substr($at['path'], 1) . ';sslmode=disable', $at['user'], $at['pass'], $options);

function ok(string $feature): void { echo "ok $feature\n"; }
function equal($found, $expected, string $what): void {
    if ($found !== $expected) throw new Exception("$what: expected " . var_export($expected, true) . ', found ' . var_export($found, true));
}
function failure(callable $attempt): PDOException {
    try { $attempt(); } catch (PDOException $error) { return $error; }
    throw new Exception('no error');
}

function reads(PDO $db, string $keeps): void {
    equal($db->query('select count(*) from items')->fetchColumn(), 1000, 'count');
    $statement = $db->prepare('select name, details from items where id = :id');
    for ($n = 1; $n <= 10; $n++) {
        $statement->execute(['id' => $n]);
        equal($statement->fetch(PDO::FETCH_ASSOC)['name'], "item $n", 'repeated');
    }
    $statement = null;
    ok($keeps === 'nothing' ? 'emulated prepared statement' : 'prepared statement');
    $db->setAttribute(PDO::ATTR_EMULATE_PREPARES, true);
    $emulated = $db->prepare('select name from items where id = ?');
    $emulated->execute([7]);
    equal($emulated->fetchColumn(), 'item 7', 'emulated');
    $db->setAttribute(PDO::ATTR_EMULATE_PREPARES, $keeps === 'nothing');
    ok('emulated parameters');
    equal(failure(fn () => $db->query('select nope from items'))->getCode(), '42703', 'unknown column');
    equal($db->query("select 'on'")->fetchColumn(), 'on', 'after an error');
    ok('errors, and going on after them');
    equal(count($db->pgsqlCopyToArray('items')), 1000, 'copy out');
    ok('COPY TO STDOUT');
    $db->beginTransaction();
    $cursor = $db->prepare('select id from items order by id', [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
    $cursor->execute();
    equal($cursor->fetch(PDO::FETCH_NUM, PDO::FETCH_ORI_ABS, 500)[0], 500, 'scroll');
    $cursor = null;
    $db->commit();
    ok('scrollable cursor');
}

function writes(PDO $db): void {
    $db->beginTransaction();
    $insert = $db->prepare('insert into items (name) values (?) returning id');
    $insert->execute(['new']);
    $made = $insert->fetchColumn();
    $db->exec('savepoint here');
    failure(fn () => $db->exec("insert into parts (item_id, label) values (999999, 'none')"));
    $db->exec('rollback to here');
    equal($db->exec("update items set price = 2 where id = $made"), 1, 'updated');
    equal($db->lastInsertId(), (string) $made, 'lastInsertId');
    $db->commit();
    $db->pgsqlCopyFromArray('parts', array_map(fn ($n) => "$made\tphp $n", range(1, 100)), "\t", '\\\\N', 'item_id, label');
    equal($db->exec("delete from parts where item_id = $made"), 100, 'deleted');
    ok('transaction, savepoint, insert, update, COPY FROM STDIN, delete');
}

function refusals(PDO $db, string $role): void {
    foreach (file(__DIR__ . '/../refusals.tsv', FILE_IGNORE_NEW_LINES) as $line) {
        $row = explode("\t", $line);
        if ($row[0] !== $role) continue;
        foreach ([fn () => $db->exec($row[2]), fn () => $db->prepare($row[2])->execute()] as $attempt) {
            $error = failure($attempt);
            if (!in_array($error->getCode(), explode(',', $row[1])) || !str_contains($error->getMessage(), 'pgwarden: ')
                || !str_contains($error->getMessage(), 'HINT:')) throw new Exception("{$row[2]}: {$error->getMessage()}");
            equal($db->query("select 'on'")->fetchColumn(), 'on', 'after a refusal');
        }
    }
    if ($role !== 'unrestricted') ok('refusals, with DETAIL and HINT in PDO’s own words');
}

echo 'version PHP ', PHP_VERSION, "\n";
reads($db, $keeps);
if ($role !== 'read-only') writes($db);
refusals($db, $role);
