/* libpq's pipeline mode: many queries behind one Sync, errors in the middle, several Syncs, COPY refused, refusals. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static PGconn *conn;
static const char *role, *keeps;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void expect(int holds, const char *what)
{
    if (!holds)
        fail(what, PQerrorMessage(conn));
}

static void send(const char *sql, int count, const char *const *values)
{
    expect(PQsendQueryParams(conn, sql, count, NULL, values, NULL, NULL, 0), sql);
}

/* The next result that is not the NULL between two queries. */
static PGresult *next(void)
{
    PGresult *result = PQgetResult(conn);
    return result ? result : PQgetResult(conn);
}

static void takes(ExecStatusType status, const char *what)
{
    PGresult *result = next();
    if (!result || PQresultStatus(result) != status)
        fail(what, result ? PQresultErrorMessage(result) : "no result");
    PQclear(result);
}

static void takes_value(const char *value, const char *what)
{
    PGresult *result = next();
    if (!result || PQresultStatus(result) != PGRES_TUPLES_OK || strcmp(PQgetvalue(result, 0, 0), value) != 0)
        fail(what, result ? PQresultErrorMessage(result) : "no result");
    PQclear(result);
}

static void enter(void) { expect(PQenterPipelineMode(conn), "pipeline mode"); }
static void leave(void)
{
    while (PQgetResult(conn)) { }
    expect(PQexitPipelineMode(conn), "leaving pipeline mode");
}

static void reads(void)
{
    char number[12];
    char name[24];
    const char *values[1] = {number};
    int n;

    enter();
    for (n = 1; n <= 100; n++) {
        snprintf(number, sizeof number, "%d", n);
        send("select name from items where id = $1::int", 1, values);
    }
    expect(PQpipelineSync(conn), "sync");
    for (n = 1; n <= 100; n++) {
        snprintf(name, sizeof name, "item %d", n);
        takes_value(name, "a hundred queries");
    }
    takes(PGRES_PIPELINE_SYNC, "sync");
    leave();
    puts("ok a hundred queries behind one Sync");

    enter();
    send("select 1", 0, NULL);
    send("select 1 / 0", 0, NULL);
    send("select 2", 0, NULL);
    expect(PQpipelineSync(conn), "sync");
    send("select 3", 0, NULL);
    expect(PQpipelineSync(conn), "sync");
    takes_value("1", "before the error");
    takes(PGRES_FATAL_ERROR, "the error");
    takes(PGRES_PIPELINE_ABORTED, "behind the error");
    takes(PGRES_PIPELINE_SYNC, "sync");
    takes_value("3", "behind the Sync");
    takes(PGRES_PIPELINE_SYNC, "sync");
    leave();
    puts("ok an error skips to the next Sync");

    enter();
    expect(PQsendPrepare(conn, "piped", "select $1::int * 2", 1, NULL), "prepare");
    strcpy(number, "21");
    expect(PQsendQueryPrepared(conn, "piped", 1, values, NULL, NULL, 0), "execute");
    expect(PQsendDescribePrepared(conn, "piped"), "describe");
    expect(PQsendFlushRequest(conn), "flush");
    expect(PQpipelineSync(conn), "sync");
    takes(PGRES_COMMAND_OK, "prepare");
    takes_value("42", "execute");
    takes(PGRES_COMMAND_OK, "describe");
    takes(PGRES_PIPELINE_SYNC, "sync");
    leave();
    if (strcmp(keeps, "nothing") != 0)
        PQclear(PQexec(conn, "deallocate piped"));
    puts("ok prepare, execute and describe in one batch");
}

static void writes(void)
{
    int n;

    enter();
    send("begin", 0, NULL);
    for (n = 0; n < 50; n++)
        send("insert into parts (item_id, label) values (1, 'piped')", 0, NULL);
    send("commit", 0, NULL);
    expect(PQpipelineSync(conn), "sync");
    for (n = 0; n < 52; n++)
        takes(PGRES_COMMAND_OK, "a transaction in one batch");
    takes(PGRES_PIPELINE_SYNC, "sync");

    send("insert into parts (item_id, label) values (1, 'undone')", 0, NULL);
    send("insert into parts (item_id, label) values (999999, 'none')", 0, NULL);
    expect(PQpipelineSync(conn), "sync");
    takes(PGRES_COMMAND_OK, "insert");
    takes(PGRES_FATAL_ERROR, "foreign key");
    takes(PGRES_PIPELINE_SYNC, "sync");
    send("select count(*) from parts where label = 'piped'", 0, NULL);
    send("select count(*) from parts where label = 'undone'", 0, NULL);
    expect(PQpipelineSync(conn), "sync");
    takes_value("50", "committed");
    takes_value("0", "undone with its batch");
    takes(PGRES_PIPELINE_SYNC, "sync");
    leave();
    puts("ok transactions, explicit and implicit, in one batch");
}

static void refusal(const char *states, const char *sql)
{
    PGresult *result;
    const char *state, *message;

    enter();
    send("select 'before'", 0, NULL);
    send(sql, 0, NULL);
    send("select 'behind'", 0, NULL);
    expect(PQpipelineSync(conn), "sync");
    send("select 'on'", 0, NULL);
    expect(PQpipelineSync(conn), "sync");
    takes_value("before", "before a refusal");
    result = next();
    state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    message = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    if (!state || !strstr(states, state) || strncmp(message, "pgwarden: ", 10) != 0)
        fail(sql, message ? message : "no error");
    PQclear(result);
    takes(PGRES_PIPELINE_ABORTED, "behind a refusal");
    takes(PGRES_PIPELINE_SYNC, "sync");
    takes_value("on", "after the Sync");
    takes(PGRES_PIPELINE_SYNC, "sync");
    leave();
}

static void refusals(void)
{
    char line[512], *of, *states, *sql;
    FILE *list = fopen(getenv("REFUSALS"), "r");

    if (!list)
        fail("REFUSALS", "no such file");
    while (fgets(line, sizeof line, list)) {
        of = strtok(line, "\t");
        states = strtok(NULL, "\t");
        sql = strtok(NULL, "\n");
        if (strcmp(of, role) == 0)
            refusal(states, sql);
    }
    fclose(list);
    if (strcmp(role, "unrestricted") != 0)
        puts("ok refusals in the middle of a batch");
}

int main(int count, char **words)
{
    if (count < 4)
        fail("usage", "work URL ROLE KEEPS");
    role = words[2];
    keeps = words[3];
    conn = PQconnectdb(words[1]);
    expect(PQstatus(conn) == CONNECTION_OK, "connect");
    printf("version libpq %d.%d\n", PQlibVersion() / 10000, PQlibVersion() % 10000);
    reads();
    if (strcmp(role, "read-only") != 0)
        writes();
    refusals();
    PQfinish(conn);
    return 0;
}
