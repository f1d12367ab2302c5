//! Where the answers come from: the index where there is one, otherwise the segments. They are the same.

use std::path::Path;

use crate::audit::AuditId;
use crate::audit::filter::{Field, Filter};
use crate::audit::index::Index;
use crate::audit::query::{Bucket, Facet, Found, Neighbourhood, Page, PageRequest, Rank};
use crate::audit::scan::Scan;
use crate::audit::search::Entry;

/// What questions are put to.
pub(super) enum Source {
    Index(Index),
    Scan(Scan),
}

impl Source {
    /// The index of a directory, or the directory.
    pub(super) fn of(directory: &Path) -> Source {
        match Index::read(directory) {
            Some(index) => Source::Index(index),
            None => Source::Scan(Scan::new(directory)),
        }
    }

    pub(super) fn search(&self, filter: &Filter, page: PageRequest) -> anyhow::Result<Page> {
        Ok(match self {
            Source::Index(index) => index.search(filter, page)?,
            Source::Scan(scan) => scan.search(filter, page)?,
        })
    }

    pub(super) fn count(&self, filter: &Filter) -> anyhow::Result<u64> {
        Ok(match self {
            Source::Index(index) => index.count(filter)?,
            Source::Scan(scan) => scan.count(filter)?,
        })
    }

    pub(super) fn facets(&self, filter: &Filter, fields: &[Field], most: usize) -> anyhow::Result<Vec<Facet>> {
        Ok(match self {
            Source::Index(index) => index.facets(filter, fields, most)?,
            Source::Scan(scan) => scan.facets(filter, fields, most)?,
        })
    }

    pub(super) fn timeline(&self, filter: &Filter, bucket_us: u64) -> anyhow::Result<Vec<Bucket>> {
        Ok(match self {
            Source::Index(index) => index.timeline(filter, bucket_us)?,
            Source::Scan(scan) => scan.timeline(filter, bucket_us)?,
        })
    }

    pub(super) fn ranked(&self, filter: &Filter, rank: Rank, most: usize) -> anyhow::Result<Vec<Entry>> {
        Ok(match self {
            Source::Index(index) => index.ranked(filter, rank, most)?,
            Source::Scan(scan) => scan.ranked(filter, rank, most)?,
        })
    }

    pub(super) fn record(&self, id: AuditId) -> anyhow::Result<Option<Found>> {
        Ok(match self {
            Source::Index(index) => index.record(id)?,
            Source::Scan(scan) => scan.record(id)?,
        })
    }

    pub(super) fn neighbourhood(&self, id: AuditId, around: usize) -> anyhow::Result<Neighbourhood> {
        let near = match self {
            Source::Index(index) => index.neighbourhood(id, around)?,
            Source::Scan(scan) => scan.neighbourhood(id, around)?,
        };
        Ok(near.unwrap_or_default())
    }
}
