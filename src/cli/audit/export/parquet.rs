//! Records as a Parquet file: the columns of the CSV form, numbers as numbers, times as UTC microseconds.

use std::fs::File;
use std::sync::Arc;

use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::{COLUMNS, value};
use crate::audit::query::time_of;
use crate::audit::search::Entry;
use crate::audit::view::Story;

/// Records in a row group.
const GROUP_ROWS: usize = 20_000;

/// Columns that hold numbers.
const NUMBERS: &[&str] = &["seq", "transaction", "rows", "bytes", "duration_us"];

/// Writes row groups as they fill.
pub(super) struct Writer {
    file: SerializedFileWriter<File>,
    columns: Vec<Column>,
    rows: usize,
}

/// A column's values of the row group that is being filled; what a record has not is `None`.
enum Column {
    Text(Vec<Option<ByteArray>>),
    Number(Vec<Option<i64>>),
}

fn schema() -> String {
    let column = |name: &&str| match *name {
        "time" => "  OPTIONAL INT64 time (TIMESTAMP(MICROS,true));\n".to_owned(),
        name if NUMBERS.contains(&name) => format!("  OPTIONAL INT64 {name};\n"),
        name => format!("  OPTIONAL BYTE_ARRAY {name} (UTF8);\n"),
    };
    format!("message audit {{\n{}}}", COLUMNS.iter().map(column).collect::<String>())
}

fn columns() -> Vec<Column> {
    let column = |name: &&str| match *name == "time" || NUMBERS.contains(name) {
        true => Column::Number(Vec::new()),
        false => Column::Text(Vec::new()),
    };
    COLUMNS.iter().map(column).collect()
}

impl Writer {
    pub(super) fn new(file: File) -> anyhow::Result<Writer> {
        let schema = Arc::new(parse_message_type(&schema())?);
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?));
        let file = SerializedFileWriter::new(file, schema, Arc::new(properties.build()))?;
        Ok(Writer { file, columns: columns(), rows: 0 })
    }

    pub(super) fn push(&mut self, entry: &Entry) -> anyhow::Result<()> {
        entry.with(|story| self.add(story));
        if self.rows >= GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    fn add(&mut self, story: &Story<'_>) {
        self.rows += 1;
        for (name, column) in COLUMNS.iter().zip(&mut self.columns) {
            match column {
                Column::Text(values) => {
                    let value = value(story, name);
                    values.push((!value.is_empty()).then(|| ByteArray::from(value.into_bytes())));
                }
                Column::Number(values) if *name == "time" => {
                    values.push(time_of(story.record).and_then(|time| i64::try_from(time.0).ok()));
                }
                Column::Number(values) => values.push(value(story, name).parse().ok()),
            }
        }
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        let mut group = self.file.next_row_group()?;
        for values in &self.columns {
            let Some(mut column) = group.next_column()? else { break };
            match values {
                Column::Text(values) => {
                    let (present, levels) = split(values);
                    column.typed::<ByteArrayType>().write_batch(&present, Some(&levels), None)?;
                }
                Column::Number(values) => {
                    let (present, levels) = split(values);
                    column.typed::<Int64Type>().write_batch(&present, Some(&levels), None)?;
                }
            }
            column.close()?;
        }
        group.close()?;
        (self.columns, self.rows) = (columns(), 0);
        Ok(())
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.file.close()?;
        Ok(())
    }
}

/// The values that are there, and for each record whether one is.
fn split<T: Clone>(values: &[Option<T>]) -> (Vec<T>, Vec<i16>) {
    let present = values.iter().flatten().cloned().collect();
    (present, values.iter().map(|value| i16::from(value.is_some())).collect())
}
