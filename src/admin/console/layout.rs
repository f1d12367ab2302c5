//! The frame around every page: navigation, who is logged in, and what the keys do.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};

use super::assets::{MARK, SCRIPT, STYLE};
use crate::admin::people::Person;
use crate::amounts::count;

/// The pages of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// `/`
    Overview,
    /// `/audit`
    Audit,
    /// `/review`
    Review,
    /// `/sessions`
    Sessions,
    /// `/grants`
    Grants,
    /// `/policies`
    Policies,
}

impl Tab {
    const ALL: [Tab; 6] = [Tab::Overview, Tab::Audit, Tab::Review, Tab::Sessions, Tab::Grants, Tab::Policies];

    const fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Tab::Overview => ("/", "Overview", "o"),
            Tab::Audit => ("/audit", "Audit", "a"),
            Tab::Review => ("/review", "Review", "r"),
            Tab::Sessions => ("/sessions", "Sessions", "s"),
            Tab::Grants => ("/grants", "Grants", "g"),
            Tab::Policies => ("/policies", "Policies", "p"),
        }
    }
}

/// What the frame shows beside the page.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Who is logged in.
    pub person: Person,
    /// Open items of the review inbox.
    pub open: usize,
    /// Those of them that are overdue.
    pub overdue: usize,
    /// Grants that wait for an answer.
    pub asked: usize,
}

/// A page within the frame.
pub fn page(frame: &Frame, tab: Tab, title: &str, body: &Markup) -> Html<String> {
    document(
        title,
        "",
        &html! {
            a.skip href="#main" { "Skip to the page" }
            header.side {
                (brand())
                nav.nav aria-label="Pages" { @for one in Tab::ALL { (link(frame, one, tab)) } }
                (me(&frame.person))
            }
            main id="main" tabindex="-1" { (body) }
            (keys())
        },
    )
}

fn brand() -> Markup {
    html! { a.brand href="/" { img src=(MARK.path) alt="" width="22" height="22"; "pgwarden" } }
}

fn link(frame: &Frame, one: Tab, current: Tab) -> Markup {
    let (href, name, _) = one.parts();
    html! {
        a href=(href) aria-current=[(one == current).then_some("page")] {
            (name)
            @if one == Tab::Review && frame.open > 0 {
                span.badge.late[frame.overdue > 0] title={ (count(frame.open as u64)) " to review, " (count(frame.overdue as u64)) " overdue" } {
                    (count(frame.open as u64))
                }
            }
            @if one == Tab::Grants && frame.asked > 0 {
                span.badge title={ (count(frame.asked as u64)) " to answer" } { (count(frame.asked as u64)) }
            }
        }
    }
}

fn me(person: &Person) -> Markup {
    html! {
        div.me {
            span.who { (super::text::OneLine(&person.user, 40)) }
            span.soft.what { (person.role.name()) }
            form method="post" action="/logout" {
                input type="hidden" name="csrf" value=(person.csrf);
                button.link type="submit" { "Log out" }
            }
            button.link.what id="show-keys" type="button" hidden { "Keys " kbd { "?" } }
        }
    }
}

fn keys() -> Markup {
    html! {
        dialog id="keys" aria-labelledby="keys-title" {
            h2 id="keys-title" { "Keys" }
            dl.small {
                @for tab in Tab::ALL { dt { kbd { "g" } " " kbd { (tab.parts().2) } } dd { (tab.parts().1) } }
                dt { kbd { "/" } } dd { "Search the audit log" }
                dt { kbd { "j" } " " kbd { "k" } } dd { "Down and up a list; Enter opens" }
                dt { kbd { "l" } } dd { "Follow live, or pause" }
                dt { kbd { "?" } } dd { "This list" }
            }
            form method="dialog" { button.main { "Close" } }
        }
    }
}

/// A page that says one thing, without navigation.
pub fn alone(title: &str, body: &Markup) -> Html<String> {
    document(title, "alone", &html! { main id="main" { (brand()) (body) } })
}

fn document(title: &str, class: &str, body: &Markup) -> Html<String> {
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (super::text::plain(title)) " · pgwarden" }
                link rel="icon" href=(MARK.path) type="image/svg+xml";
                link rel="stylesheet" href=(STYLE.path);
                script src=(SCRIPT.path) defer {}
            }
            body class=[(!class.is_empty()).then_some(class)] { (body) }
        }
    };
    Html(whole.into_string())
}
