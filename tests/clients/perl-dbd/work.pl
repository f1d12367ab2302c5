# Perl DBD::Pg: placeholders, server-side prepare, transactions with savepoints, COPY, table_info, NOTIFY.
use strict;
use warnings;
use utf8;
use DBI;
use DBD::Pg qw(:async);
use FindBin;

my ($url, $role, $keeps) = @ARGV;
my ($user, $password, $host, $port, $database) = $url =~ m{//([^:]+):([^@]+)@([^:]+):(\d+)/([^?]+)} or die $url;
binmode STDOUT, ':utf8';

sub ok { print "ok $_[0]\n" }
sub skip { print "skip $_[0]: $_[1]\n" }
sub equal { my ($found, $expected, $what) = @_; die "$what: expected $expected, found $found" unless $found eq $expected }

my $db = DBI->connect("dbi:Pg:host=$host;port=$port;dbname=$database;sslmode=disable", $user, $password,
    { RaiseError => 1, PrintError => 0, AutoCommit => 1, pg_server_prepare => $keeps eq 'nothing' ? 0 : 1 });
$db->{pg_switch_prepared} = 2;

sub failure { my ($attempt) = @_; eval { $attempt->(); 1 } and die 'no error'; return $@ }

sub reads {
    equal($db->selectrow_array('select count(*) from items'), 1000, 'count');
    my $statement = $db->prepare('select name, tags from items where id = ?');
    for my $n (1 .. 10) {
        $statement->execute($n);
        my ($name, $tags) = $statement->fetchrow_array;
        equal("$name $tags->[1]", "item $n ü", 'repeated');
        $statement->finish;
    }
    ok($keeps eq 'nothing' ? 'placeholders and types' : 'statement that becomes prepared, types');
    failure(sub { $db->do('select nope from items') });
    equal($db->state, '42703', 'unknown column');
    equal($db->selectrow_array("select 'on'"), 'on', 'after an error');
    ok('errors, and going on after them');
    equal(scalar @{ $db->table_info(undef, 'public', 'items', 'TABLE')->fetchall_arrayref }, 1, 'table_info');
    equal(scalar @{ $db->column_info(undef, 'public', 'items', '%')->fetchall_arrayref }, 6, 'column_info');
    equal(scalar @{ $db->foreign_key_info(undef, undef, undef, undef, 'public', 'parts')->fetchall_arrayref }, 1, 'foreign_key_info');
    ok('table_info, column_info, foreign_key_info');
    $db->do('copy (select id from items) to stdout');
    my ($line, $lines) = ('', 0);
    $lines++ while $db->pg_getcopydata($line) >= 0;
    equal($lines, 1000, 'copy out');
    ok('COPY TO STDOUT');
    $db->do('select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b', { pg_async => PG_ASYNC });
    sleep 1;
    $db->pg_cancel;
    equal($db->selectrow_array("select 'on'"), 'on', 'after cancel');
    ok('asynchronous query, cancel');
}

sub writes {
    $db->begin_work;
    my ($made) = $db->selectrow_array('insert into items (name) values (?) returning id', undef, 'new');
    $db->pg_savepoint('here');
    failure(sub { $db->do("insert into parts (item_id, label) values (999999, 'none')") });
    $db->pg_rollback_to('here');
    equal($db->do('update items set price = 2 where id = ?', undef, $made), 1, 'updated');
    $db->commit;
    $db->do('copy parts (item_id, label) from stdin');
    $db->pg_putcopydata("$made\tperl $_\n") for 1 .. 100;
    $db->pg_putcopyend;
    equal($db->do('delete from parts where item_id = ?', undef, $made), 100, 'deleted');
    ok('transaction, savepoint, insert, update, COPY FROM STDIN, delete');
}

sub notifies {
    return skip('listen and notify', 'a transaction pooler keeps no LISTEN') if $keeps ne 'all';
    $db->do('listen news');
    $db->do("notify news, 'hello'");
    equal($db->pg_notifies->[2], 'hello', 'notification');
    ok('listen and notify');
}

sub refusals {
    open my $list, '<', "$FindBin::Bin/../refusals.tsv" or die $!;
    while (my $line = <$list>) {
        chomp $line;
        my ($of, $states, $sql) = split /\t/, $line;
        next if $of ne $role;
        my $said = failure(sub { $db->do($sql) });
        my $state = $db->state;
        die "$sql: $state $said" unless $states =~ /$state/ && $said =~ /pgwarden: / && $said =~ /HINT:/;
        failure(sub { $db->prepare("$sql /* prepared */")->execute });
        equal($db->selectrow_array("select 'on'"), 'on', 'after a refusal');
    }
    ok('refusals, with DETAIL and HINT in DBI’s own words') if $role ne 'unrestricted';
}

print "version DBD::Pg $DBD::Pg::VERSION\n";
reads();
writes() if $role ne 'read-only';
notifies() if $role eq 'unrestricted' || $role eq 'application';
refusals();
$db->disconnect;
