"""SQLAlchemy 2 on psycopg 3: ORM, reflection, pools, server-side cursors; Alembic migrations of the usual kinds."""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
import sqlalchemy as sa
from sqlalchemy import orm
from work import arguments, equal, ok, refused, version

url, role, keeps = arguments()
options = {"prepare_threshold": None} if keeps == "nothing" else {"prepare_threshold": 2}
engine = sa.create_engine(url.replace("postgres://", "postgresql+psycopg://"), connect_args=options, pool_size=3)


class Base(orm.DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    price: orm.Mapped[float] = orm.mapped_column(sa.Numeric(10, 2), server_default="1")
    parts: orm.Mapped[list["Part"]] = orm.relationship(back_populates="item")


class Part(Base):
    __tablename__ = "parts"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    item_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("items.id"))
    label: orm.Mapped[str]
    item: orm.Mapped[Item] = orm.relationship(back_populates="parts")


def reads():
    with orm.Session(engine) as session:
        equal(session.scalar(sa.select(sa.func.count()).select_from(Item)), 1000, "count")
        item = session.scalars(sa.select(Item).options(orm.selectinload(Item.parts)).where(Item.id == 7)).one()
        equal((item.name, len(item.parts)), ("item 7", 1), "relation")
        for n in range(1, 8):
            equal(session.scalar(sa.select(Item.name).where(Item.id == n)), f"item {n}", "repeated")
    ok("ORM queries and relations")
    with engine.connect().execution_options(yield_per=100) as conn:
        equal(sum(row[0] for row in conn.execute(sa.select(Item.id))), 500500, "yield_per")
    ok("server-side cursor")
    inspector = sa.inspect(engine)
    equal({"items", "parts"} <= set(inspector.get_table_names()), True, "tables")
    equal([c["name"] for c in inspector.get_columns("parts")], ["id", "item_id", "label"], "columns")
    equal(inspector.get_foreign_keys("parts")[0]["referred_table"], "items", "foreign keys")
    equal(inspector.get_indexes("parts")[0]["name"], "parts_item", "indexes")
    sa.MetaData().reflect(engine, views=True)
    ok("reflection")
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as conn:
        equal(conn.scalar(sa.text("show transaction_isolation")), "repeatable read", "isolation")
    ok("isolation level")


def writes():
    with orm.Session(engine) as session:
        item = Item(name="new", parts=[Part(label=f"p{n}") for n in range(50)])
        session.add(item)
        session.flush()
        try:
            with session.begin_nested():
                session.add(Part(item_id=999999, label="no such item"))
        except sa.exc.IntegrityError:
            pass
        item.price = 3
        session.commit()
        equal(session.execute(sa.delete(Part).where(Part.item_id == item.id)).rowcount, 50, "deleted")
        session.commit()
    ok("unit of work, savepoint, bulk insert, delete")


REVISIONS = {
    "one": "op.create_table('notes', sa.Column('id', sa.Integer, primary_key=True), sa.Column('body', sa.Text))",
    "two": "op.add_column('notes', sa.Column('done', sa.Boolean, server_default=sa.false()))",
    "three": "op.create_index('notes_body', 'notes', ['body'])",
}
DESTROYS = "op.execute(\"insert into notes (body) values ('half')\"); op.drop_column('notes', 'body')"


def revision(folder, name, after, up):
    text = f"revision = '{name}'\ndown_revision = {after!r}\nfrom alembic import op\nimport sqlalchemy as sa\n"
    (folder / "versions" / f"{name}.py").write_text(f"{text}def upgrade():\n    {up}\ndef downgrade():\n    pass\n")


def migrates():
    from alembic import command
    from alembic.config import Config

    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        config = Config()
        config.set_main_option("script_location", place)
        config.set_main_option("sqlalchemy.url", str(engine.url.render_as_string(False)).replace("%", "%%"))
        (folder / "versions").mkdir()
        (folder / "env.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import context\n"
            "engine = sa.create_engine(context.config.get_main_option('sqlalchemy.url'))\n"
            "with engine.connect() as conn:\n    context.configure(connection=conn)\n"
            "    with context.begin_transaction():\n        context.run_migrations()\n")
        after = None
        for name, up in REVISIONS.items():
            revision(folder, name, after, up)
            after = name
        command.upgrade(config, "head")
        command.current(config)
        with engine.connect() as conn:
            equal(conn.scalar(sa.text("select version_num from alembic_version")), "three", "migrated")
        ok("Alembic: additive migrations")
        revision(folder, "four", "three", DESTROYS)
        if role.name == "unrestricted":
            command.upgrade(config, "head")
            return ok("Alembic: a destructive migration")
        try:
            command.upgrade(config, "head")
            raise AssertionError("not refused")
        except sa.exc.DBAPIError as error:
            refused(error.orig.sqlstate, error.orig.diag.message_primary, ["42501"], DESTROYS)
        with engine.connect() as conn:
            equal(conn.scalar(sa.text("select version_num from alembic_version")), "three", "not migrated")
            equal(conn.scalar(sa.text("select count(*) from notes")), 0, "half a migration")
        revision(folder, "four", "three", "op.add_column('notes', sa.Column('more', sa.Integer))")
        command.upgrade(config, "head")
        ok("Alembic: a destructive migration is refused whole, and the next deploy goes on")


def refusals():
    for sql, states in role.refusals():
        try:
            with engine.begin() as conn:
                conn.execute(sa.text(sql))
            raise AssertionError(f"not refused: {sql}")
        except sa.exc.DBAPIError as error:
            refused(error.orig.sqlstate, error.orig.diag.message_primary, states, sql)
            equal("DETAIL:" in str(error) and "HINT:" in str(error), True, "what SQLAlchemy prints")
    if role.refusals():
        ok("refusals, with DETAIL and HINT in SQLAlchemy's own words")


version(f"SQLAlchemy {sa.__version__}")
reads()
if role.may_write:
    writes()
if role.may_create:
    migrates()
refusals()
