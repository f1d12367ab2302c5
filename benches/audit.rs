//! What one record costs: beside the write itself at most 1.5 µs of CPU. Run: `cargo bench --bench audit`.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use pgwarden::audit::*;
use pgwarden::sql::{Class, Effect, Object, ObjectKind, Origin};
use std::hint::black_box;
use std::io::Write as _;

const TEXT: &str = "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = $1 AND o.state = $2";

fn session() -> SessionFields {
    SessionFields::new(&SessionIdentity {
        session: "0DQ5X7K2M9A",
        user: "studio_reader",
        role: "studio",
        environment: "production",
        database: "shop",
        endpoint: "pooled",
        client: "10.20.30.40:50000",
        tls: "TLSv1.3",
        login: "scram-sha-256",
        application: "Prisma Studio",
    })
}

fn statement() -> Event {
    let object = Object { kind: ObjectKind::Relation, schema: None, name: "orders".into() };
    let effects = [(Effect::new(Class::Read, "SELECT").on(object), Origin::Both)];
    Event::Statement(Statement {
        verdict: Verdict::Allow,
        rule: "allow \"read\" (pgwarden.toml:31)".into(),
        policy: "read-only".into(),
        generation: 1,
        effects: EffectsJson::new(&effects),
        readers: Readers::Both,
        text: StatementJson::whole(TEXT.as_bytes(), Some("0123456789abcdef")),
        protocol: Protocol::Extended,
        name: Some("s1".into()),
        parameters: None,
        transaction: Some(17),
        grant: None,
        sqlstate: None,
    })
}

fn outcome(of: AuditId) -> Event {
    Event::Outcome(Outcome {
        of,
        tag: Tag::new(b"SELECT 1"),
        rows: 1,
        bytes: 120,
        duration_us: 812,
        sqlstate: None,
        state: TransactionState::Committed,
    })
}

fn accepting(c: &mut Criterion, name: &str, directory: &std::path::Path) {
    let _ = std::fs::remove_dir_all(directory);
    let mut settings = AuditSettings::new(directory.join("audit"));
    settings.retention_bytes = Some(64 << 20);
    let audit = Audit::open(settings).unwrap();
    let (session, event) = (session(), statement());
    let mut records = Vec::new();
    c.bench_function(&format!("{name}: accept a statement"), |b| {
        b.iter(|| {
            records.push(Record::new(audit.next_id(), Some(session.clone()), event.clone()));
            audit.accept(&mut records).unwrap();
        });
    });
    c.bench_function(&format!("{name}: accept a statement, defer its outcome"), |b| {
        b.iter(|| {
            let id = audit.next_id();
            records.push(Record::new(id, Some(session.clone()), event.clone()));
            audit.accept(&mut records).unwrap();
            audit.defer(Record::new(audit.next_id(), Some(session.clone()), outcome(id)));
        });
    });
    drop(audit);
    let mut file = std::fs::File::create(directory.join("plain")).unwrap();
    let line = vec![b'x'; 790];
    let mut written = 0;
    c.bench_function(&format!("{name}: the write alone"), |b| {
        b.iter(|| {
            file.write_all(black_box(&line)).unwrap();
            written += line.len();
            if written > 1 << 28 {
                file.set_len(0).unwrap();
                written = 0;
            }
        });
    });
    let _ = std::fs::remove_dir_all(directory);
}

fn bench(c: &mut Criterion) {
    accepting(c, "disk", &std::env::temp_dir().join("pgwarden-bench-audit"));
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() {
        accepting(c, "memory", &memory.join("pgwarden-bench-audit"));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
