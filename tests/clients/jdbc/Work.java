// JDBC: server-prepared statements, batches, fetch size, DatabaseMetaData, COPY, cancel, savepoints.
import java.io.StringReader;
import java.io.StringWriter;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.Timer;
import java.util.TimerTask;
import org.postgresql.PGConnection;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PSQLException;

public class Work {
    static final String HEAVY = "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b";
    static String role;
    static String keeps;
    static String url;
    static final Properties properties = new Properties();

    record Refusal(String sql, List<String> states) {}

    public static void main(String[] arguments) throws Exception {
        URI given = new URI(arguments[0]);
        role = arguments[1];
        keeps = arguments[2];
        String[] login = given.getUserInfo().split(":", 2);
        properties.setProperty("user", login[0]);
        properties.setProperty("password", login[1]);
        // What the driver's documentation says for a pooler that does not keep prepared statements.
        properties.setProperty("prepareThreshold", keeps.equals("nothing") ? "0" : "3");
        String query = given.getQuery() == null ? "" : "?" + given.getQuery();
        url = "jdbc:postgresql://" + given.getHost() + ":" + given.getPort() + given.getPath() + query;
        try (Connection connection = connect()) { System.out.println("version PgJDBC " + connection.getMetaData().getDriverVersion()); }
        reads();
        metadata();
        fetches();
        transactions();
        cancels();
        if (!role.equals("read-only")) writes();
        if (role.equals("unrestricted") || role.equals("application")) cursors();
        largeObjects();
        refusals();
    }

    static Connection connect() throws SQLException { return DriverManager.getConnection(url, properties); }

    static void ok(String feature) { System.out.println("ok " + feature); }

    static void equal(Object found, Object expected, String what) {
        if (!expected.equals(found)) throw new AssertionError(what + ": expected " + expected + ", found " + found);
    }

    static Object one(Connection connection, String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int n = 0; n < parameters.length; n++) statement.setObject(n + 1, parameters[n]);
            try (ResultSet rows = statement.executeQuery()) {
                rows.next();
                return rows.getObject(1);
            }
        }
    }

    static void reads() throws Exception {
        try (Connection connection = connect()) {
            equal(one(connection, "select count(*) from items"), 1000L, "count");
            try (PreparedStatement statement = connection.prepareStatement("select name from items where id = ?")) {
                for (int n = 1; n <= 10; n++) {
                    statement.setInt(1, n);
                    try (ResultSet rows = statement.executeQuery()) {
                        rows.next();
                        equal(rows.getString(1), "item " + n, "repeated");
                    }
                }
            }
            ok("statement that becomes server-prepared");
            try (Statement statement = connection.createStatement()) {
                statement.execute("select 1; select 2");
                equal(statement.getMoreResults(), true, "several statements");
            }
            ok("several statements in one call");
            try {
                one(connection, "select nope from items");
                throw new AssertionError("no error");
            } catch (PSQLException error) {
                equal(error.getServerErrorMessage().getPosition(), 8, "error position");
            }
            StringWriter out = new StringWriter();
            equal(connection.unwrap(PGConnection.class).getCopyAPI().copyOut("copy items to stdout", out), 1000L, "copy out");
            ok("error position, COPY TO STDOUT");
        }
    }

    static void metadata() throws Exception {
        try (Connection connection = connect()) {
            DatabaseMetaData data = connection.getMetaData();
            equal(count(data.getTables(null, "public", "items", new String[] {"TABLE"})), 1, "tables");
            equal(count(data.getTables(null, "public", "%", new String[] {"VIEW"})), 1, "views");
            equal(count(data.getColumns(null, "public", "items", "%")), 6, "columns");
            equal(count(data.getPrimaryKeys(null, "public", "items")), 1, "primary keys");
            equal(count(data.getImportedKeys(null, "public", "parts")), 1, "imported keys");
            equal(count(data.getExportedKeys(null, "public", "items")), 1, "exported keys");
            equal(count(data.getIndexInfo(null, "public", "parts", false, true)), 2, "indexes");
            equal(count(data.getFunctions(null, "public", "twice")), 1, "functions");
            equal(count(data.getFunctionColumns(null, "public", "twice", "%")) > 0, true, "function columns");
            equal(count(data.getSchemas()) > 2, true, "schemas");
            equal(count(data.getTypeInfo()) > 20, true, "types");
            equal(count(data.getTablePrivileges(null, "public", "items")) > 0, true, "privileges");
            data.getSQLKeywords();
        }
        ok("DatabaseMetaData");
    }

    static int count(ResultSet rows) throws SQLException {
        int count = 0;
        while (rows.next()) count++;
        rows.close();
        return count;
    }

    static void fetches() throws Exception {
        try (Connection connection = connect(); Statement statement = connection.createStatement()) {
            connection.setAutoCommit(false);
            statement.setFetchSize(50);
            long total = 0;
            try (ResultSet rows = statement.executeQuery("select id from items")) {
                while (rows.next()) total += rows.getInt(1);
            }
            equal(total, 500500L, "fetch size");
            connection.commit();
        }
        ok("fetch size");
    }

    static void transactions() throws Exception {
        try (Connection connection = connect()) {
            connection.setReadOnly(true);
            connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            connection.setAutoCommit(false);
            equal(one(connection, "show transaction_isolation"), "repeatable read", "isolation");
            Savepoint here = connection.setSavepoint("here");
            try {
                one(connection, "select 1 / 0");
            } catch (PSQLException error) {
                connection.rollback(here);
            }
            equal(one(connection, "select 1"), 1, "after the savepoint");
            connection.rollback();
        }
        ok("isolation level, read-only connection, savepoint");
    }

    static void cancels() throws Exception {
        try (Connection connection = connect(); Statement statement = connection.createStatement()) {
            Timer timer = new Timer(true);
            timer.schedule(new TimerTask() {
                @Override public void run() {
                    try {
                        statement.cancel();
                    } catch (SQLException error) {
                        error.printStackTrace();
                    }
                }
            }, 500);
            try {
                statement.executeQuery(HEAVY);
                throw new AssertionError("not cancelled");
            } catch (PSQLException error) {
                equal(error.getSQLState(), "57014", "cancel");
            }
            equal(one(connection, "select 1"), 1, "after cancel");
            statement.setQueryTimeout(1);
            try {
                statement.executeQuery(HEAVY);
                throw new AssertionError("no timeout");
            } catch (PSQLException error) {
                equal(error.getSQLState(), "57014", "query timeout");
            }
        }
        ok("cancel and query timeout");
    }

    static void writes() throws Exception {
        for (String rewrite : new String[] {"false", "true"}) {
            properties.setProperty("reWriteBatchedInserts", rewrite);
            try (Connection connection = connect()) {
                connection.setAutoCommit(false);
                try (PreparedStatement statement = connection.prepareStatement("insert into parts (item_id, label) values (?, ?)")) {
                    for (int n = 0; n < 300; n++) {
                        statement.setInt(1, 1);
                        statement.setString(2, "batch " + n);
                        statement.addBatch();
                    }
                    equal(statement.executeBatch().length, 300, "batch");
                }
                connection.commit();
                connection.setAutoCommit(true);
                equal(one(connection, "select count(*) from parts where label like 'batch%'"), 300L, "batch");
                try (PreparedStatement statement = connection.prepareStatement("delete from parts where label like ?")) {
                    statement.setString(1, "batch%");
                    equal(statement.executeUpdate(), 300, "deleted");
                }
            }
        }
        ok("batches, rewritten and not");
        try (Connection connection = connect()) {
            try (PreparedStatement statement = connection.prepareStatement("insert into items (name) values (?)", Statement.RETURN_GENERATED_KEYS)) {
                statement.setString(1, "keyed");
                statement.executeUpdate();
                ResultSet keys = statement.getGeneratedKeys();
                equal(keys.next(), true, "generated keys");
            }
            try (Statement statement = connection.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
                ResultSet rows = statement.executeQuery("select id, name from items where id = 1");
                rows.next();
                rows.updateString("name", "renamed");
                rows.updateRow();
            }
            equal(one(connection, "select name from items where id = 1"), "renamed", "updatable");
            long copied = connection.unwrap(PGConnection.class).getCopyAPI().copyIn("copy parts (item_id, label) from stdin", new StringReader("1\ta\n1\tb\n"));
            equal(copied, 2L, "copy in");
        }
        ok("generated keys, updatable result set, COPY FROM STDIN");
    }

    static void cursors() throws Exception {
        try (Connection connection = connect()) {
            connection.setAutoCommit(false);
            try (CallableStatement call = connection.prepareCall("{? = call few_items()}")) {
                call.registerOutParameter(1, Types.REF_CURSOR);
                call.execute();
                int count = 0;
                try (ResultSet rows = (ResultSet) call.getObject(1)) { while (rows.next()) count++; }
                equal(count, 3, "rows of a cursor");
            }
            connection.rollback();
        }
        ok("a cursor that a function returns");
    }

    static void largeObjects() throws Exception {
        try (Connection connection = connect()) {
            connection.setAutoCommit(false);
            LargeObjectManager manager = connection.unwrap(PGConnection.class).getLargeObjectAPI();
            if (!role.equals("unrestricted")) {
                try {
                    manager.createLO();
                    throw new AssertionError("a large object was made");
                } catch (PSQLException error) {
                    if (!error.getMessage().contains("pgwarden: call of pg_catalog.lo_creat is not allowed")) throw error;
                }
                ok("large objects are refused");
                return;
            }
            long oid = manager.createLO();
            byte[] content = new byte[300_000];
            for (int at = 0; at < content.length; at++) content[at] = (byte) at;
            try (LargeObject object = manager.open(oid)) { object.write(content); }
            connection.commit();
            try (LargeObject object = manager.open(oid)) {
                equal(Arrays.equals(object.read(content.length + 1), content), true, "large object");
                object.seek64(10, LargeObject.SEEK_SET);
                equal(object.tell64(), 10L, "tell");
            }
            manager.delete(oid);
            connection.commit();
        }
        ok("large objects, by function calls");
    }

    static List<Refusal> wanted() throws Exception {
        return Files.readAllLines(Path.of(System.getProperty("refusals"))).stream()
            .filter(line -> !line.startsWith("#")).map(line -> line.split("\t"))
            .filter(row -> row[0].equals(role)).map(row -> new Refusal(row[2], Arrays.asList(row[1].split(",")))).toList();
    }

    static void refusals() throws Exception {
        for (String mode : new String[] {"extended", "simple"}) {
            properties.setProperty("preferQueryMode", mode);
            try (Connection connection = connect()) {
                for (Refusal refusal : wanted()) {
                    try (Statement statement = connection.createStatement()) {
                        statement.execute(refusal.sql());
                        throw new AssertionError("not refused: " + refusal.sql());
                    } catch (PSQLException error) {
                        String message = error.getServerErrorMessage().getMessage();
                        if (!refusal.states().contains(error.getSQLState()) || !message.startsWith("pgwarden: "))
                            throw new AssertionError(refusal.sql() + ": " + error.getSQLState() + " " + message);
                    }
                    equal(one(connection, "select 1"), 1, "after a refusal");
                }
                equal(one(connection, "select count(*) from items where name = 'never'"), 0L, "nothing changed");
            }
        }
        if (!wanted().isEmpty()) ok("refusals, simple and extended");
    }
}
