//! `pgwarden audit stats`: what happened, drawn in the terminal.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::print::{Ink, brief, duration, one_line};
use super::source::Source;
use super::{FilterWords, Place};
use crate::amounts::count;
use crate::audit::filter::{Field, Filter};
use crate::audit::query::{Counted, Rank, Verdicts};

/// Widest bar.
const BAR: usize = 50;
/// Lines in each list.
const TOP: usize = 5;
/// Users whose refusals are looked at.
const MOST_USERS: usize = 200;
/// Days begin at a quarter of an hour everywhere.
const QUARTER_US: u64 = 900_000_000;

#[derive(Clone, Debug, Args)]
pub(super) struct Stats {
    #[command(flatten)]
    filter: FilterWords,
}

#[derive(Default)]
struct Gathered {
    all: Verdicts,
    days: BTreeMap<String, Verdicts>,
    events: Vec<Counted>,
    users: Vec<Counted>,
    applications: Vec<Counted>,
    effects: Vec<Counted>,
    refused: Vec<Counted>,
    errors: Vec<Counted>,
    slowest: Vec<(u64, String)>,
}

impl Stats {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<ExitCode> {
        let mut filter = self.filter.parse()?;
        if filter.span() == (None, None) {
            let week = Filter::parse("since:7d", &jiff::Zoned::now())?;
            filter.terms.extend(week.terms);
        }
        let counted = Gathered::of(&Source::of(&place.directory), &filter)?;
        if place.json {
            counted.print_json()?
        } else {
            counted.print(place)?
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Gathered {
    fn of(source: &Source, filter: &Filter) -> anyhow::Result<Gathered> {
        let statements = Filter::of(Field::Event, "statement").and(filter);
        let mut gathered = Gathered { refused: refused(source, &statements)?, ..Gathered::default() };
        for bucket in source.timeline(&statements, QUARTER_US)? {
            let day = gathered.days.entry(day(&bucket.from.to_string())).or_default();
            for sum in [day, &mut gathered.all] {
                sum.allow += bucket.statements.allow;
                sum.deny += bucket.statements.deny;
                sum.observe += bucket.statements.observe;
            }
        }
        let top = |filter: &Filter, field, most| -> anyhow::Result<Vec<Counted>> {
            Ok(source.facets(filter, &[field], most)?.pop().map(|facet| facet.values).unwrap_or_default())
        };
        gathered.events = top(filter, Field::Event, usize::MAX)?;
        gathered.events.sort_by(|a, b| a.value.cmp(&b.value));
        gathered.users = top(&statements, Field::User, TOP)?;
        gathered.applications = top(&statements, Field::Application, TOP)?;
        gathered.effects = top(&statements, Field::Effect, TOP)?;
        gathered.errors =
            top(&statements.clone().and(&Filter::any_of(Field::Verdict, &["allow", "observe"])), Field::Error, TOP)?;
        for entry in source.ranked(&statements, Rank::Duration, TOP)? {
            gathered.slowest.extend(entry.with(|story| {
                let took = story.outcome.and_then(|outcome| outcome.duration_us).unwrap_or_default();
                (took, format!("{} {}", story.record.id, brief(&story.record.text, 80)))
            }));
        }
        Ok(gathered)
    }

    fn print(&self, place: &Place) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let printer = place.printer;
        let Verdicts { allow, deny, observe } = self.all;
        let total = count(self.all.total());
        let (allow, deny, observe) = (count(allow), printer.ink(Ink::Red, &count(deny)), count(observe));
        writeln!(out, "{total} statements: {allow} allowed, {deny} refused, {observe} observed\n")?;
        let most = self.days.values().map(|day| day.total()).max().unwrap_or_default();
        for (day, verdicts) in &self.days {
            let bar = printer.ink(Ink::Green, &bar(verdicts.allow + verdicts.observe, most));
            let refused = printer.ink(Ink::Red, &bar_of_refused(verdicts.deny, most));
            writeln!(out, "{day}  {bar}{refused} {} ({} refused)", count(verdicts.total()), count(verdicts.deny))?;
        }
        let lists = [
            ("refused most", &self.refused),
            ("users", &self.users),
            ("applications", &self.applications),
            ("effects", &self.effects),
            ("errors", &self.errors),
        ];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            writeln!(out, "\n{}", printer.ink(Ink::Bold, name))?;
            for counted in list {
                writeln!(out, "  {:>10}  {}", count(counted.count), one_line(&counted.value))?;
            }
        }
        self.print_slowest(place, &mut out)?;
        let events: Vec<String> =
            self.events.iter().map(|event| format!("{} {}", one_line(&event.value), count(event.count))).collect();
        writeln!(out, "\n{}", printer.ink(Ink::Dim, &events.join(", ")))
    }

    fn print_slowest(&self, place: &Place, out: &mut impl io::Write) -> io::Result<()> {
        if !self.slowest.is_empty() {
            writeln!(out, "\n{}", place.printer.ink(Ink::Bold, "slowest"))?;
        }
        self.slowest.iter().try_for_each(|(took, text)| writeln!(out, "  {:>10}  {text}", duration(*took)))
    }

    fn print_json(&self) -> io::Result<()> {
        let verdicts =
            |verdicts: &Verdicts| json!({"allow": verdicts.allow, "deny": verdicts.deny, "observe": verdicts.observe});
        let days: BTreeMap<&String, _> = self.days.iter().map(|(day, counted)| (day, verdicts(counted))).collect();
        let slowest: Vec<_> =
            self.slowest.iter().map(|(took, text)| json!({"duration_us": took, "statement": text})).collect();
        let events: BTreeMap<&String, u64> = self.events.iter().map(|event| (&event.value, event.count)).collect();
        let stats = json!({
            "statements": verdicts(&self.all), "days": days, "events": events, "refused": self.refused, "users": self.users,
            "applications": self.applications, "effects": self.effects, "errors": self.errors, "slowest": slowest,
        });
        writeln!(io::stdout(), "{stats}")
    }
}

fn day(time: &str) -> String {
    let local = time.parse::<jiff::Timestamp>().map(|at| at.to_zoned(jiff::tz::TimeZone::system()));
    local.map(|at| at.strftime("%a %Y-%m-%d").to_string()).map(sortable).unwrap_or_default()
}

/// The date first, so that days sort.
fn sortable(day: String) -> String {
    day.split_once(' ').map(|(weekday, date)| format!("{date} {weekday}")).unwrap_or(day)
}

fn bar(value: u64, most: u64) -> String {
    let eighths = (value as f64 / most.max(1) as f64 * (BAR * 8) as f64).round() as usize;
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8).copied().unwrap_or_default();
    format!("{}{part}", "█".repeat(eighths / 8))
}

/// Refusals are few: one block at least, so that they are seen.
fn bar_of_refused(value: u64, most: u64) -> String {
    let blocks = (value as f64 / most.max(1) as f64 * BAR as f64).ceil() as usize;
    "▒".repeat(blocks)
}

/// What was refused most: by whom, and by which rule.
fn refused(source: &Source, statements: &Filter) -> anyhow::Result<Vec<Counted>> {
    let denied = statements.clone().and(&Filter::of(Field::Verdict, "deny"));
    let of = |filter: &Filter, field, most| -> anyhow::Result<Vec<Counted>> {
        Ok(source.facets(filter, &[field], most)?.pop().map(|facet| facet.values).unwrap_or_default())
    };
    let mut pairs = Vec::new();
    for user in of(&denied, Field::User, MOST_USERS)? {
        // Whoever was refused less often in all than the fifth pair cannot be among the first five.
        if pairs.get(TOP - 1).is_some_and(|last: &Counted| last.count > user.count) {
            break;
        }
        let own = denied.clone().and(&Filter::of(Field::User, &user.value));
        for rule in of(&own, Field::Rule, TOP)? {
            pairs.push(Counted { value: format!("{}: {}", user.value, rule.value), count: rule.count });
        }
        pairs.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
        pairs.truncate(TOP);
    }
    Ok(pairs)
}
