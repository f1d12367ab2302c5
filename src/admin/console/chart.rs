//! Charts as SVG, drawn on the server: statements over time, and bars. No style or script in them; colours come from classes.
//!
//! Their labels are HTML beside the drawing, so that the drawing can stretch and the words cannot.

use maud::{Markup, html};

use super::text::moment;
use crate::amounts::{count, counted};
use crate::audit::Timestamp;
use crate::audit::query::{Bucket, Verdicts};

/// Units across a drawing.
const WIDTH: f64 = 1000.0;

/// A stretch of time cut into equal pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// First moment of the first piece.
    pub from: Timestamp,
    /// Length of a piece in microseconds.
    pub bucket_us: u64,
    /// How many pieces.
    pub pieces: usize,
    /// How moments on it are written.
    pub form: &'static str,
    /// What a piece is called: `a minute`.
    pub piece: &'static str,
    /// How many moments are written below it, its end not among them.
    pub labels: usize,
    /// What its end is called: `now`.
    pub end: &'static str,
}

impl Axis {
    /// An axis whose last piece holds `now`.
    pub fn ending(
        now: Timestamp,
        bucket_us: u64,
        pieces: usize,
        (form, piece, labels): (&'static str, &'static str, usize),
    ) -> Axis {
        let last = now.0 - now.0 % bucket_us.max(1);
        let from = last.saturating_sub(bucket_us * (pieces as u64).saturating_sub(1));
        Axis { from: Timestamp(from), bucket_us, pieces, form, piece, labels, end: "now" }
    }

    fn start(&self, piece: usize) -> Timestamp {
        Timestamp(self.from.0 + self.bucket_us * piece as u64)
    }

    /// The pieces' counts, with zeros where nothing happened.
    pub fn lay(&self, buckets: &[Bucket]) -> Vec<Verdicts> {
        let mut laid = vec![Verdicts::default(); self.pieces];
        for bucket in buckets {
            let piece = bucket.from.0.checked_sub(self.from.0).map(|past| past / self.bucket_us.max(1));
            let slot = piece.and_then(|piece| laid.get_mut(usize::try_from(piece).ok()?));
            if let Some(slot) = slot {
                slot.allow += bucket.statements.allow;
                slot.deny += bucket.statements.deny;
                slot.observe += bucket.statements.observe;
            }
        }
        laid
    }

    /// Moments to write below the axis.
    fn labels(&self) -> Vec<String> {
        let step = self.pieces / self.labels.max(1);
        let mut labels: Vec<String> = (0..self.labels).map(|at| moment(self.start(at * step), self.form)).collect();
        labels.push(self.end.to_owned());
        labels
    }
}

/// Statements over time in two lanes, each by its own scale: what was forwarded, and what was refused or would have been, which
/// would not be seen beside it.
pub fn timeline(axis: &Axis, buckets: &[Bucket]) -> Markup {
    let laid = axis.lay(buckets);
    let sum = |of: fn(&Verdicts) -> u64| laid.iter().map(of).sum::<u64>();
    let (forwarded, refused, observed) = (sum(|v| v.allow + v.observe), sum(|v| v.deny), sum(|v| v.observe));
    let peak = laid.iter().map(|v| v.allow + v.observe).max().unwrap_or(0);
    let worst = laid.iter().map(|v| v.deny + v.observe).max().unwrap_or(0);
    html! {
        figure.timeline {
            figcaption.lane-head {
                span.key.allow { "Forwarded " b { (count(forwarded)) } }
                span.peak { "peak " (count(peak)) " in " (axis.piece) }
            }
            svg.lane.tall viewBox="0 0 1000 100" preserveAspectRatio="none" role="img"
                aria-label={ "Statements forwarded over time: " (count(forwarded)) " in all, at most " (count(peak)) " in " (axis.piece) } {
                (grid())
                path.area.allow d=(area(&laid, peak)) {}
                path.line.allow d=(outline(&laid, peak)) {}
            }
            div.lane-head {
                span.keys {
                    span.key.deny { "Refused " b { (count(refused)) } }
                    @if observed > 0 { span.key.observe { "Would be refused " b { (count(observed)) } } }
                }
                @if worst > 0 { span.peak { "peak " (count(worst)) " in " (axis.piece) } }
            }
            svg.lane.short viewBox="0 0 1000 100" preserveAspectRatio="none" role="group" aria-label="Refused statements over time" {
                line.base x1="0" x2="1000" y1="100" y2="100" {}
                @for (index, verdicts) in laid.iter().enumerate().filter(|(_, v)| v.deny + v.observe > 0) {
                    (refusals(axis, index, verdicts, worst))
                }
            }
            div.axis aria-hidden="true" { @for label in axis.labels() { span { (label) } } }
        }
    }
}

/// One piece's refusals: a bar that leads to them.
fn refusals(axis: &Axis, index: usize, verdicts: &Verdicts, worst: u64) -> Markup {
    let width = WIDTH / axis.pieces.max(1) as f64;
    let height = |value: u64| (value as f64 / worst.max(1) as f64 * 96.0).max(if value > 0 { 5.0 } else { 0.0 });
    let (denied, observed) = (height(verdicts.deny), height(verdicts.observe));
    let (from, to) = (axis.start(index), axis.start(index + 1));
    let (x, w) = (index as f64 * width + width * 0.12, width * 0.76);
    let says = format!(
        "{} refused, {} to {}",
        counted(verdicts.deny + verdicts.observe, "statement"),
        moment(from, axis.form),
        moment(to, axis.form)
    );
    let href = super::search::href(&format!("verdict:deny,observe since:{from} before:{to}"));
    html! {
        a href=(href) aria-label=(says) {
            title { (says) }
            rect.hit x=(number(index as f64 * width)) y="0" width=(number(width)) height="100" {}
            rect.deny x=(number(x)) y=(number(100.0 - denied)) width=(number(w)) height=(number(denied)) {}
            rect.observe x=(number(x)) y=(number(100.0 - denied - observed)) width=(number(w)) height=(number(observed)) {}
        }
    }
}

fn grid() -> Markup {
    html! { @for y in [1, 34, 67] { line.grid x1="0" x2="1000" y1=(y) y2=(y) {} } line.base x1="0" x2="1000" y1="100" y2="100" {} }
}

fn number(value: f64) -> String {
    format!("{value:.2}")
}

/// The top of the area: one step a piece, so that a quiet minute is seen as one.
fn outline(laid: &[Verdicts], peak: u64) -> String {
    let width = WIDTH / laid.len().max(1) as f64;
    let mut path = String::new();
    for (index, verdicts) in laid.iter().enumerate() {
        let y = 100.0 - (verdicts.allow + verdicts.observe) as f64 / peak.max(1) as f64 * 96.0;
        let (left, right) = (index as f64 * width, (index + 1) as f64 * width);
        path.push_str(if index == 0 { "M" } else { "L" });
        path.push_str(&format!("{left:.1} {y:.1}L{right:.1} {y:.1}"));
    }
    path
}

fn area(laid: &[Verdicts], peak: u64) -> String {
    format!("{}L1000 100L0 100Z", outline(laid, peak))
}

/// One bar of a list.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// How long it is.
    pub value: u64,
    /// What stands at its end.
    pub shown: String,
    /// Where it leads.
    pub href: String,
    /// Its class in the style sheet: `deny`, `allow`, `plain`.
    pub tone: &'static str,
}

/// A list of bars, the longest filling its room.
pub fn bars(bars: &[Bar]) -> Markup {
    let longest = bars.iter().map(|bar| bar.value).max().unwrap_or(0).max(1);
    html! {
        ol.bars {
            @for bar in bars {
                li {
                    a href=(bar.href) {
                        span.bar-name { (super::text::OneLine(&bar.name, 60)) }
                        span.bar-value { (bar.shown) }
                        svg.bar viewBox="0 0 1000 6" preserveAspectRatio="none" aria-hidden="true" {
                            rect.track x="0" y="0" width="1000" height="6" {}
                            rect class=(bar.tone) x="0" y="0" height="6"
                                width=(number((bar.value as f64 / longest as f64 * WIDTH).max(6.0))) {}
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000;

    fn axis() -> Axis {
        Axis::ending(Timestamp(100 * MINUTE + 5), MINUTE, 10, ("%H:%M", "a minute", 5))
    }

    #[test]
    fn buckets_are_laid_where_they_belong() {
        assert_eq!(axis().from, Timestamp(91 * MINUTE));
        let bucket = |minute: u64, deny: u64| Bucket {
            from: Timestamp(minute * MINUTE),
            statements: Verdicts { deny, ..Verdicts::default() },
            others: 0,
        };
        let laid = axis().lay(&[bucket(90, 7), bucket(91, 1), bucket(100, 2), bucket(101, 9)]);
        let denied: Vec<u64> = laid.iter().map(|verdicts| verdicts.deny).collect();
        assert_eq!(denied, [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn an_empty_chart_is_flat_and_has_no_links() {
        let drawn = timeline(&axis(), &[]).into_string();
        assert!(!drawn.contains("NaN") && !drawn.contains("inf") && !drawn.contains("<a "));
        assert!(!Axis::ending(Timestamp(0), 0, 0, ("", "", 0)).lay(&[]).iter().any(|v| v.total() > 0));
    }

    #[test]
    fn a_single_refusal_can_be_seen_beside_many() {
        let one = Bucket { from: axis().from, statements: Verdicts { deny: 1, ..Verdicts::default() }, others: 0 };
        let many = Bucket {
            from: Timestamp(100 * MINUTE),
            statements: Verdicts { deny: 100_000, ..Verdicts::default() },
            others: 0,
        };
        let drawn = timeline(&axis(), &[one, many]).into_string();
        assert!(drawn.contains("height=\"5.00\"") && drawn.contains("height=\"96.00\""));
        assert!(!drawn.contains("style="));
    }
}
