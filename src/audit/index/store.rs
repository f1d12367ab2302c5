//! The index file: finished blocks in SQLite, their texts in its full-text search. One writer, many readers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::build::{Late, correct_numbers, correct_texts};
use super::column::{
    CHUNK_TEXTS, Columns, NumberColumn, Numbers, TextColumn, Texts, decode_codes, decode_dictionary, decode_numbers,
    each_text, encode_codes, encode_dictionary, encode_numbers,
};
use super::{IndexError, Meta};

/// What the file is called, beside the audit directory.
pub(super) const FILE: &str = "audit.index";
/// The form of the tables. A file of another form is made anew.
const FORM: i64 = 1;
/// Columns of a block may have places from 0 to this.
const PLACES: i64 = 64;
/// Texts are before this place, numbers from it on.
const FIRST_NUMBER: i64 = 32;
/// A block has at most this many chunks of texts.
const CHUNKS: i64 = 1024;

const TABLES: &str = r#"
    CREATE TABLE blocks (
        block INTEGER PRIMARY KEY, segment INTEGER NOT NULL, rows INTEGER NOT NULL, first_line INTEGER NOT NULL,
        first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, first_time INTEGER NOT NULL, last_time INTEGER NOT NULL,
        first_id INTEGER NOT NULL, last_id INTEGER NOT NULL, next_offset INTEGER NOT NULL, last_hash TEXT NOT NULL
    );
    CREATE TABLE columns (place INTEGER PRIMARY KEY, dictionary BLOB NOT NULL, codes BLOB NOT NULL);
    CREATE TABLE texts (chunk INTEGER PRIMARY KEY, packed BLOB NOT NULL);
    CREATE VIRTUAL TABLE words USING fts5(
        body, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram case_sensitive 1'
    );
    CREATE TABLE late (
        block INTEGER NOT NULL, row INTEGER NOT NULL, outcome INTEGER NOT NULL, error TEXT NOT NULL, tag TEXT NOT NULL,
        state TEXT NOT NULL, rows INTEGER, bytes INTEGER, duration INTEGER, PRIMARY KEY (block, row)
    ) WITHOUT ROWID;
    CREATE TABLE fingerprints (
        environment TEXT NOT NULL, fingerprint TEXT NOT NULL, seq INTEGER NOT NULL, time INTEGER NOT NULL,
        PRIMARY KEY (environment, fingerprint)
    ) WITHOUT ROWID;
    CREATE INDEX fingerprints_by_time ON fingerprints (time);
    CREATE TABLE reviews (seq INTEGER PRIMARY KEY, line TEXT NOT NULL);
"#;

/// Where the index of an audit directory is.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.with_file_name(FILE)
}

/// A connection to the file.
pub(super) struct Store {
    connection: Connection,
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn natural(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

impl Store {
    /// Opens the file for writing; makes it if there is none. `None` for a file of another form.
    pub(super) fn open(file: &Path) -> Result<Option<Store>, IndexError> {
        let connection = Connection::open(file)?;
        connection.execute_batch(
            "PRAGMA page_size = 16384; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             PRAGMA cache_size = -4096; PRAGMA wal_autocheckpoint = 256; PRAGMA journal_size_limit = 16777216;",
        )?;
        let form: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            connection.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {FORM}; COMMIT;"))?;
            return Ok(Some(Store { connection }));
        }
        Ok((form == FORM).then_some(Store { connection }))
    }

    /// Opens the file for reading. `None` if there is none, or one of another form.
    pub(super) fn read(file: &Path) -> Result<Option<Store>, IndexError> {
        if !file.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(2))?;
        connection.execute_batch("PRAGMA cache_size = -2048; PRAGMA query_only = 1;")?;
        let form: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok((form == FORM).then_some(Store { connection }))
    }

    /// What is known of every block, oldest first.
    pub(super) fn blocks(&self) -> Result<Vec<Meta>, IndexError> {
        let mut statement = self.connection.prepare(
            "SELECT block, segment, rows, first_line, first_seq, last_seq, first_time, last_time, first_id, last_id,
                    next_offset, last_hash FROM blocks ORDER BY block",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Meta {
                block: row.get(0)?,
                segment: natural(row.get(1)?),
                rows: usize::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
                first_line: natural(row.get(3)?),
                first_seq: natural(row.get(4)?),
                last_seq: natural(row.get(5)?),
                first_time: natural(row.get(6)?),
                last_time: natural(row.get(7)?),
                first_id: natural(row.get(8)?),
                last_id: natural(row.get(9)?),
                next_offset: natural(row.get(10)?),
                last_hash: row.get(11)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Writes a finished block, with what came late for blocks before it, all or nothing.
    pub(super) fn write(
        &mut self,
        meta: &Meta,
        columns: &Columns,
        late: &[Late],
        reviews: &[(u64, String)],
    ) -> Result<(), IndexError> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                meta.block,
                integer(meta.segment),
                integer(meta.rows as u64),
                integer(meta.first_line),
                integer(meta.first_seq),
                integer(meta.last_seq),
                integer(meta.first_time),
                integer(meta.last_time),
                integer(meta.first_id),
                integer(meta.last_id),
                integer(meta.next_offset),
                meta.last_hash
            ],
        )?;
        write_columns(&transaction, meta.block, columns)?;
        write_words(&transaction, meta.block, &columns.text(TextColumn::Words))?;
        for one in late {
            transaction.execute(
                "INSERT OR IGNORE INTO late VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    one.block,
                    integer(one.row as u64),
                    integer(one.outcome),
                    one.error,
                    one.tag,
                    one.state,
                    one.rows.map(integer),
                    one.bytes.map(integer),
                    one.duration.map(integer)
                ],
            )?;
        }
        for (seq, line) in reviews {
            transaction.execute("INSERT OR IGNORE INTO reviews VALUES (?, ?)", params![integer(*seq), line])?;
        }
        write_fingerprints(&transaction, columns)?;
        transaction.commit()?;
        Ok(())
    }

    /// Takes out the blocks of segments that are gone.
    pub(super) fn remove_before(&mut self, segment: u64) -> Result<(), IndexError> {
        let transaction = self.connection.transaction()?;
        let last: Option<i64> = transaction.query_row(
            "SELECT max(block) FROM blocks WHERE segment < ?",
            params![integer(segment)],
            |row| row.get(0),
        )?;
        let Some(last) = last else { return Ok(()) };
        let chunks = (last + 1) * CHUNKS;
        transaction.execute("DELETE FROM blocks WHERE block <= ?", [last])?;
        transaction.execute("DELETE FROM columns WHERE place < ?", [(last + 1) * PLACES])?;
        transaction.execute("DELETE FROM words WHERE rowid IN (SELECT chunk FROM texts WHERE chunk < ?)", [chunks])?;
        transaction.execute("DELETE FROM texts WHERE chunk < ?", [chunks])?;
        transaction.execute("DELETE FROM late WHERE block <= ?", [last])?;
        transaction.commit()?;
        Ok(())
    }

    /// A column's dictionary, as far as it is not the one of words.
    pub(super) fn dictionary(&self, block: i64, column: TextColumn) -> Result<Vec<Box<str>>, IndexError> {
        let packed = self.blob("SELECT dictionary FROM columns WHERE place = ?", block * PLACES + column as i64)?;
        Ok(packed.map_or_else(|| Ok(Vec::new()), |packed| decode_dictionary(&packed))?)
    }

    /// Which value of a dictionary of so many each record has. Nothing for a block that was taken out.
    pub(super) fn codes(&self, meta: &Meta, column: TextColumn, values: usize) -> Result<Vec<u16>, IndexError> {
        let packed = self.blob("SELECT codes FROM columns WHERE place = ?", meta.block * PLACES + column as i64)?;
        Ok(packed.map_or_else(|| Ok(Vec::new()), |packed| decode_codes(&packed, values, meta.rows))?)
    }

    /// A column of texts.
    pub(super) fn texts(&self, meta: &Meta, column: TextColumn) -> Result<Texts, IndexError> {
        let mut found = self.connection.prepare_cached("SELECT dictionary, codes FROM columns WHERE place = ?")?;
        let place = meta.block * PLACES + column as i64;
        let row: Option<(Vec<u8>, Vec<u8>)> =
            found.query_row([place], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((dictionary, codes)) = row else { return Ok(Texts::default()) };
        let dictionary = decode_dictionary(&dictionary)?;
        let values = if column == TextColumn::Words { usize::MAX } else { dictionary.len() };
        let mut texts = Texts { codes: decode_codes(&codes, values, meta.rows)?, dictionary };
        if matches!(column, TextColumn::Error | TextColumn::Tag | TextColumn::State) {
            correct_texts(&mut texts, column, &self.late(meta.block)?);
        }
        Ok(texts)
    }

    /// A column of numbers.
    pub(super) fn numbers(&self, meta: &Meta, column: NumberColumn) -> Result<Numbers, IndexError> {
        let place = meta.block * PLACES + FIRST_NUMBER + column as i64;
        let packed = self.blob("SELECT codes FROM columns WHERE place = ?", place)?;
        let Some(packed) = packed else { return Ok(Numbers::new()) };
        let mut numbers = decode_numbers(column, &packed, meta.rows)?;
        let changes = [NumberColumn::Outcome, NumberColumn::Rows, NumberColumn::Bytes, NumberColumn::Duration];
        if changes.contains(&column) {
            correct_numbers(&mut numbers, column, &self.late(meta.block)?);
        }
        Ok(numbers)
    }

    fn late(&self, block: i64) -> Result<Vec<Late>, IndexError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT row, outcome, error, tag, state, rows, bytes, duration FROM late WHERE block = ?",
        )?;
        let rows = statement.query_map([block], |row| {
            Ok(Late {
                block,
                row: usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX),
                outcome: natural(row.get(1)?),
                error: row.get(2)?,
                tag: row.get(3)?,
                state: row.get(4)?,
                rows: row.get::<_, Option<i64>>(5)?.map(natural),
                bytes: row.get::<_, Option<i64>>(6)?.map(natural),
                duration: row.get::<_, Option<i64>>(7)?.map(natural),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn blob(&self, sql: &str, place: i64) -> Result<Option<Vec<u8>>, IndexError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([place], |row| row.get(0)).optional()?)
    }

    /// The chunks that hold all of these trigrams, as (block, chunk within it), oldest first.
    pub(super) fn chunks_with(&self, trigrams: &[String]) -> Result<Vec<(i64, usize)>, IndexError> {
        let quoted: Vec<String> = trigrams.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
        let mut statement =
            self.connection.prepare_cached("SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid")?;
        let rows = statement.query_map([quoted.join(" AND ")], |row| row.get::<_, i64>(0))?;
        let place = |chunk: i64| (chunk / CHUNKS, usize::try_from(chunk % CHUNKS).unwrap_or(0));
        Ok(rows.map(|row| row.map(place)).collect::<Result<_, _>>()?)
    }

    /// Hands the texts of one chunk to `look`; the first has the number `chunk × 64` in its block. `false` if there is no such chunk.
    pub(super) fn chunk(&self, block: i64, chunk: usize, look: impl FnMut(&str)) -> Result<bool, IndexError> {
        let place = block * CHUNKS + integer(chunk as u64);
        let packed = self.blob("SELECT packed FROM texts WHERE chunk = ?", place)?;
        packed.as_ref().map_or(Ok(()), |packed| each_text(packed, look))?;
        Ok(packed.is_some())
    }

    /// Fingerprints first seen at or after a time: (environment, fingerprint, sequence number, time), the newest first.
    pub(super) fn new_fingerprints(
        &self,
        environment: Option<&str>,
        since: u64,
        most: usize,
    ) -> Result<Vec<(String, String, u64, u64)>, IndexError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT environment, fingerprint, seq, time FROM fingerprints
             WHERE time >= ?1 AND (?2 IS NULL OR environment = ?2) ORDER BY seq DESC LIMIT ?3",
        )?;
        let limit = integer(most as u64);
        let rows = statement.query_map(params![integer(since), environment, limit], |row| {
            Ok((row.get(0)?, row.get(1)?, natural(row.get(2)?), natural(row.get(3)?)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether a fingerprint was seen in an environment.
    pub(super) fn knows_fingerprint(&self, environment: &str, fingerprint: &str) -> Result<bool, IndexError> {
        let mut statement =
            self.connection.prepare_cached("SELECT 1 FROM fingerprints WHERE environment = ? AND fingerprint = ?")?;
        Ok(statement.exists([environment, fingerprint])?)
    }

    /// The lines of all reviews, oldest first.
    pub(super) fn reviews(&self) -> Result<Vec<String>, IndexError> {
        let mut statement = self.connection.prepare("SELECT line FROM reviews ORDER BY seq")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn write_columns(connection: &Connection, block: i64, columns: &Columns) -> Result<(), IndexError> {
    let mut insert = connection.prepare_cached("INSERT INTO columns VALUES (?, ?, ?)")?;
    for column in TextColumn::ALL {
        let texts = columns.text(*column);
        let (dictionary, codes) = match column {
            // The texts themselves are in chunks of their own.
            TextColumn::Words => (encode_dictionary([])?, encode_codes(&wide(&texts))?),
            _ => (encode_dictionary(texts.dictionary.iter().map(|value| &**value))?, encode_codes(&texts)?),
        };
        insert.execute(params![block * PLACES + *column as i64, dictionary, codes])?;
    }
    for column in NumberColumn::ALL {
        let codes = encode_numbers(*column, &columns.number(*column))?;
        insert.execute(params![block * PLACES + FIRST_NUMBER + *column as i64, Vec::new(), codes])?;
    }
    Ok(())
}

/// The same column, to be stored with two bytes a record whatever its dictionary is.
fn wide(texts: &Arc<Texts>) -> Texts {
    Texts { dictionary: vec![Box::default(); 257], codes: texts.codes.clone() }
}

fn write_words(connection: &Connection, block: i64, texts: &Texts) -> Result<(), IndexError> {
    let mut insert = connection.prepare_cached("INSERT INTO texts VALUES (?, ?)")?;
    let mut index = connection.prepare_cached("INSERT INTO words (rowid, body) VALUES (?, ?)")?;
    let mut body = String::new();
    for (number, chunk) in texts.dictionary.chunks(CHUNK_TEXTS).enumerate() {
        body.clear();
        for text in chunk {
            // As the filter compares them.
            body.push_str(&text.to_lowercase());
            body.push('\n');
        }
        let place = block * CHUNKS + integer(number as u64);
        insert.execute(params![place, encode_dictionary(chunk.iter().map(|text| &**text))?])?;
        index.execute(params![place, body])?;
    }
    Ok(())
}

fn write_fingerprints(connection: &Connection, columns: &Columns) -> Result<(), IndexError> {
    let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO fingerprints VALUES (?, ?, ?, ?)")?;
    for (environment, fingerprint, seq, time) in columns.first_fingerprints() {
        insert.execute(params![environment, fingerprint, integer(seq), integer(time)])?;
    }
    Ok(())
}

/// Removes the file, with what SQLite keeps beside it.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    for ending in ["", "-wal", "-shm", "-journal"] {
        let mut name = file.as_os_str().to_owned();
        name.push(ending);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
