"""asyncpg: prepared statements, cursors, COPY, many statements at once, pool with its reset, LISTEN, cancel."""
import asyncio
import io
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
import asyncpg
from work import HEAVY, arguments, equal, ok, refused, skip, version

url, role, keeps = arguments()
# What asyncpg's documentation says for a pooler that does not keep prepared statements.
OPTIONS = {"statement_cache_size": 0} if keeps == "nothing" else {}


async def reads():
    conn = await asyncpg.connect(url, **OPTIONS)
    equal(await conn.fetchval("select count(*) from items"), 1000, "count")
    row = await conn.fetchrow("select name, tags, details::text from items where id = $1", 7)
    equal((row["name"], row["tags"]), ("item 7", ["t1", "ü"]), "row")
    for n in range(5):
        equal(await conn.fetchval("select twice($1)", n), 2 * n, "repeated")
    ok("parameters, types and repeated statements")
    async with conn.transaction():
        statement = await conn.prepare("select id from items where id > $1 order by id")
        equal(len(await statement.fetch(900)), 100, "prepared")
        equal([column.name for column in statement.get_attributes()], ["id"], "attributes")
        cursor = await conn.cursor("select id from items order by id")
        await cursor.forward(10)
        equal((await cursor.fetchrow())["id"], 11, "cursor")
        total = 0
        async for record in conn.cursor("select id from items", prefetch=50):
            total += record["id"]
        equal(total, 500500, "iterated cursor")
    ok("prepared statement and cursors in a transaction")
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        equal(await conn.fetchval("show transaction_read_only"), "on", "read only")
        try:
            async with conn.transaction():
                await conn.fetchval("select 1 / 0")
        except asyncpg.DivisionByZeroError:
            pass
        equal(await conn.fetchval("select 1"), 1, "after the savepoint")
    ok("transactions, savepoints, isolation level")
    try:
        await conn.fetch("select nope from items")
        raise AssertionError("no error")
    except asyncpg.UndefinedColumnError as error:
        equal(error.position, "8", "error position")
    ok("error position, and going on after it")
    out = io.BytesIO()
    await conn.copy_from_query("select id, name from items where id <= $1", 10, output=out)
    equal(out.getvalue().count(b"\n"), 10, "copy out")
    ok("COPY TO STDOUT")
    try:
        await conn.fetchval(HEAVY, timeout=0.5)
        raise AssertionError("not cancelled")
    except (asyncio.TimeoutError, TimeoutError):
        pass
    equal(await conn.fetchval("select 1"), 1, "after cancel")
    ok("cancel by timeout")
    await conn.close()


async def several_at_once():
    async def one(n):
        conn = await asyncpg.connect(url, **OPTIONS)
        try:
            return [await conn.fetchval("select name from items where id = $1", i) for i in range(n, n + 20)]
        finally:
            await conn.close()

    results = await asyncio.gather(*(one(n) for n in range(1, 21)))
    equal(results[19][19], "item 39", "concurrent")
    ok("20 connections at once")


async def writes():
    conn = await asyncpg.connect(url, **OPTIONS)
    made = await conn.fetchval("insert into items (name) values ($1) returning id", "new")
    equal(await conn.execute("update items set price = 2 where id = $1", made), "UPDATE 1", "tag")
    await conn.executemany("insert into parts (item_id, label) values ($1, $2)", [(made, f"p{n}") for n in range(300)])
    equal(await conn.fetchval("select count(*) from parts where item_id = $1", made), 300, "executemany")
    equal(await conn.copy_records_to_table("parts", records=[(made, "c")] * 200, columns=["item_id", "label"]), "COPY 200", "copy in")
    equal(await conn.execute("delete from parts where item_id = $1", made), "DELETE 500", "deleted")
    await conn.execute("begin; insert into parts (item_id, label) values (1, 'script'); commit")
    await conn.close()
    ok("insert, update, executemany, COPY FROM STDIN, delete, script")


async def pools():
    async with asyncpg.create_pool(url, min_size=1, max_size=3, **OPTIONS) as pool:
        for _ in range(3):
            equal(await pool.fetchval("select 1"), 1, "pool")
    ok("pool, whose reset is CLOSE ALL, UNLISTEN, RESET ALL and pg_advisory_unlock_all")


async def notifies():
    if keeps != "all":
        return skip("listen and notify", "a transaction pooler keeps no LISTEN")
    conn = await asyncpg.connect(url, **OPTIONS)
    heard = asyncio.get_running_loop().create_future()
    await conn.add_listener("news", lambda *note: heard.done() or heard.set_result(note[3]))
    await conn.execute("notify news, 'hello'")
    equal(await asyncio.wait_for(heard, 10), "hello", "notification")
    await conn.close()
    ok("listen and notify")


async def refusals():
    conn = await asyncpg.connect(url, **OPTIONS)
    for sql, states in role.refusals():
        for run in (conn.fetch, conn.execute):
            try:
                await run(sql)
                raise AssertionError(f"not refused: {sql}")
            except asyncpg.PostgresError as error:
                refused(error.sqlstate, error.message, states, sql)
            equal(await conn.fetchval("select 1"), 1, "after a refusal")
    await conn.close()
    if role.refusals():
        ok("refusals, simple and extended")


async def main():
    await reads()
    await several_at_once()
    if role.may_write:
        await writes()
    if role.may_notify:
        await notifies()
    await refusals()
    await pools()


version(f"asyncpg {asyncpg.__version__}")
asyncio.run(main())
