"""Django on psycopg 3: ORM, server-side cursors, atomic blocks, inspectdb; migrations of the usual kinds."""
import io
import pathlib
import sys
import tempfile
from urllib.parse import urlparse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
import django
from django.conf import settings
from work import arguments, equal, ok, refused, version

url, role, keeps = arguments()
parts = urlparse(url)
place = tempfile.TemporaryDirectory()
folder = pathlib.Path(place.name)

MODELS = """
from django.db import models
class Item(models.Model):
    name = models.TextField()
    price = models.DecimalField(max_digits=10, decimal_places=2, default=1, db_default=1)
    details = models.JSONField(default=dict)
    class Meta:
        managed = False
        db_table = 'items'
class Part(models.Model):
    item = models.ForeignKey(Item, models.CASCADE, related_name='parts')
    label = models.TextField()
    class Meta:
        managed = False
        db_table = 'parts'
"""
MIGRATIONS = {
    "0001_notes": "migrations.CreateModel('Note', [('id', models.AutoField(primary_key=True)), ('body', models.TextField())])",
    "0002_done": "migrations.AddField('Note', 'done', models.BooleanField(null=True))",
    "0003_index": "migrations.AddIndex('Note', models.Index(fields=['done'], name='notes_done'))",
}
HALF = "migrations.RunSQL(\"insert into shop_note (body) values ('half')\")"
DESTROYS = f"{HALF}, migrations.RemoveField('Note', 'body')"


def migration(name, after, operations):
    depends = f"[('shop', {after!r})]" if after else "[]"
    (folder / "shop" / "migrations" / f"{name}.py").write_text(
        "from django.db import migrations, models\nclass Migration(migrations.Migration):\n"
        f"    dependencies = {depends}\n    operations = [{operations}]\n")


def setup():
    (folder / "shop" / "migrations").mkdir(parents=True)
    for empty in ("shop/__init__.py", "shop/migrations/__init__.py"):
        (folder / empty).write_text("")
    (folder / "shop" / "models.py").write_text(MODELS)
    after = None
    for name, operations in MIGRATIONS.items():
        migration(name, after, operations)
        after = name
    sys.path.insert(0, str(folder))
    settings.configure(
        INSTALLED_APPS=["shop"], USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        DATABASES={"default": {
            "ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username,
            "PASSWORD": parts.password, "HOST": parts.hostname, "PORT": parts.port,
            # What Django's documentation says for transaction pooling.
            "DISABLE_SERVER_SIDE_CURSORS": keeps != "all"}})
    django.setup()


def reads():
    equal(Item.objects.count(), 1000, "count")
    equal(Item.objects.get(pk=7).details, {"n": 7, "even": False}, "get")
    page = Item.objects.filter(name__icontains="9", details__even=True).order_by("-id").prefetch_related("parts")[:5]
    equal([len(item.parts.all()) for item in page], [1] * 5, "prefetch")
    equal(Item.objects.aggregate(models.Sum("price"))["price__sum"], 500500, "aggregate")
    equal(sum(item.id for item in Item.objects.only("id").iterator(chunk_size=100)), 500500, "iterator")
    ok("ORM queries, prefetch, aggregate, iterator")
    with connection.cursor() as cursor:
        tables = {table.name for table in connection.introspection.get_table_list(cursor)}
        equal({"items", "parts"} <= tables, True, "tables")
    out = io.StringIO()
    call_command("inspectdb", "items", "parts", stdout=out)
    equal("class Parts(models.Model)" in out.getvalue(), True, "inspectdb")
    ok("inspectdb")
    with transaction.atomic():
        try:
            with transaction.atomic():
                list(Item.objects.raw("select 1 / 0 as id"))
        except DataError:
            pass
        equal(Item.objects.filter(pk=1).exists(), True, "after the savepoint")
    ok("atomic blocks and savepoints")


def writes():
    item = Item.objects.create(name="new")
    Part.objects.bulk_create([Part(item=item, label=f"p{n}") for n in range(100)])
    equal(Part.objects.filter(item=item).update(label="z"), 100, "updated")
    equal(Item.objects.update_or_create(pk=item.pk, defaults={"name": "kept"})[1], False, "update_or_create")
    equal(Part.objects.filter(item=item).delete()[0], 100, "deleted")
    try:
        with transaction.atomic():
            Item.objects.create(name="rolled back")
            raise ValueError
    except ValueError:
        pass
    equal(Item.objects.filter(name="rolled back").exists(), False, "rolled back")
    ok("create, bulk_create, update, delete, rollback")


def migrate():
    call_command("migrate", "shop", verbosity=0, interactive=False, skip_checks=True)


def applied():
    with connection.cursor() as cursor:
        cursor.execute("select name from django_migrations where app = 'shop' order by id")
        return [row[0] for row in cursor.fetchall()]


def migrates():
    migrate()
    equal(applied(), list(MIGRATIONS), "applied")
    ok("migrate: additive migrations")
    migration("0004_body", "0003_index", DESTROYS)
    if role.name == "unrestricted":
        migrate()
        return ok("migrate: a destructive migration")
    try:
        migrate()
        raise AssertionError("not refused")
    except DatabaseError as error:
        cause = error.__cause__
        refused(cause.sqlstate, cause.diag.message_primary, ["42501"], DESTROYS)
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from shop_note")
        equal((cursor.fetchone()[0], applied()), (0, list(MIGRATIONS)), "half a migration")
    (folder / "shop" / "migrations" / "0004_body.py").unlink()
    migration("0004_more", "0003_index", "migrations.AddField('Note', 'more', models.IntegerField(null=True))")
    migrate()
    equal(applied()[-1], "0004_more", "the next deploy")
    ok("migrate: a destructive migration is refused whole, and the next deploy goes on")


def refusals():
    for sql, states in role.refusals():
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
            raise AssertionError(f"not refused: {sql}")
        except DatabaseError as error:
            refused(error.__cause__.sqlstate, error.__cause__.diag.message_primary, states, sql)
            equal("DETAIL:" in str(error) and "HINT:" in str(error), True, "what Django prints")
    if role.refusals():
        ok("refusals, with DETAIL and HINT in Django's own words")


version(f"Django {django.__version__}")
setup()
from django.core.management import call_command
from django.db import DatabaseError, DataError, connection, models, transaction
from shop.models import Item, Part

reads()
if role.may_write:
    writes()
if role.may_create:
    migrates()
refusals()
connection.close()
