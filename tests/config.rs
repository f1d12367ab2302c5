//! The configuration: good files, bad files with the lines of their errors, endpoint URLs, and the reference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use pgwarden::config::{self, Config, ConfigErrors};
use proptest::prelude::*;

/// RFC 7677's example: the password is `pencil`.
const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

fn variable(name: &str) -> Option<String> {
    match name {
        "DATABASE_URL" => {
            Some("postgres://app:s3cr3t@pooler.example:6543/shop?sslmode=verify-full&pgbouncer=true".into())
        }
        "DATABASE_URL_UNPOOLED" => Some("postgres://app:s3cr3t@db.example/shop?sslmode=verify-full".into()),
        "STUDIO_READER_VERIFIER" | "VERIFIER" => Some(VERIFIER.into()),
        "BROKEN_URL" => Some("postgres://app:s3cr3t/oops@db.example/shop".into()),
        "ENVIRONMENT" => Some("s3cr3t-environment".into()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    config::parse(text, Path::new("etc/pgwarden.toml"), &variable)
}

#[test]
fn the_example_loads_as_it_stands() {
    let text = std::fs::read_to_string("config/example.toml").unwrap();
    let config = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let access = config.access("studio_reader", "shop").unwrap();
    assert_eq!((access.role.as_str(), access.environment.as_str()), ("studio", "production"));
    assert!(access.policy.holds_read_only());
    assert!(access.endpoint_url.pgbouncer);
    assert_eq!(config.audit.directory, Path::new("etc/var/audit"));
}

/// The cases of a data file: name, line of the first line of text, text.
fn cases(file: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(format!("tests/data/config/{file}")).unwrap();
    let cases = text.split("\n=== ").skip(1);
    cases.map(|case| case.split_once('\n').map(|(name, text)| (name.to_owned(), text.to_owned())).unwrap()).collect()
}

/// `line: message part`, for each `#! a | b` of a text.
fn expected_errors(text: &str) -> Vec<(usize, String)> {
    let marked = text.lines().enumerate().filter_map(|(index, line)| Some((index + 1, line.split_once("#! ")?.1)));
    marked.flat_map(|(line, parts)| parts.split(" | ").map(move |part| (line, part.trim().to_owned()))).collect()
}

/// Whether every error found is expected on its line and the other way round, each expectation used once.
fn agree(found: &ConfigErrors, expected: &[(usize, String)]) -> bool {
    let mut left: Vec<_> = expected.to_vec();
    let all_expected = found.0.iter().all(|error| {
        let index =
            left.iter().position(|(line, part)| Some(*line) == error.line && error.message.contains(part.as_str()));
        index.map(|index| left.remove(index)).is_some()
    });
    all_expected && left.is_empty()
}

#[test]
fn bad_configurations_say_everything_that_is_wrong_and_where() {
    let cases = cases("bad.txt");
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for (name, text) in &cases {
        let expected = match name.as_str() {
            "not TOML" => vec![(1, "not valid TOML".to_owned())],
            _ => expected_errors(text),
        };
        match parse(text) {
            Err(errors) if agree(&errors, &expected) => {}
            Err(errors) => wrong.push(format!("{name}:\n{errors}\nexpected {expected:#?}")),
            Ok(_) => wrong.push(format!("{name}: loads")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn no_error_shows_a_secret() {
    for (name, text) in cases("bad.txt") {
        let Err(errors) = parse(&text) else { continue };
        for secret in ["s3cr3t", "hunter2", "W22Z", "hidden"] {
            assert!(!errors.to_string().contains(secret), "{name}: {errors}");
        }
    }
}

#[test]
fn errors_name_file_and_line() {
    let errors = parse("[listen]\nadmin = 5\ncolour = 1\n").unwrap_err();
    let text = errors.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("etc/pgwarden.toml:2: expected an address"), "{text}");
    assert!(lines[1].starts_with("etc/pgwarden.toml:3: unknown key `colour`"), "{text}");
}

/// What a login leads to, in the words of the data file.
fn led_to(config: &Config, user: &str, database: &str) -> String {
    let Some(access) = config.access(user, database) else { return "nothing".to_owned() };
    let endpoint = &access.endpoint_url;
    let config::endpoint::HostAddress::Name(host) = &endpoint.hosts[0].address else { panic!("a socket") };
    let (policy, kind) = (&access.policy.name, access.endpoint.name());
    let target = format!("{}@{host}/{}", endpoint.user, endpoint.database);
    format!("{} {} {policy} {kind} {target}", access.role, access.environment)
}

#[test]
fn good_configurations_load_and_lead_where_they_should() {
    for (name, case) in cases("good.txt") {
        let (logins, text): (Vec<&str>, Vec<&str>) = case.lines().partition(|line| line.starts_with("> "));
        let config = parse(&text.join("\n")).unwrap_or_else(|errors| panic!("{name}:\n{errors}"));
        for login in logins {
            let (who, expected) = login.trim_start_matches("> ").split_once(" : ").unwrap();
            let (user, database) = who.split_once(' ').unwrap();
            assert_eq!(led_to(&config, user, database), expected, "{name}: {who}");
        }
    }
}

#[test]
fn every_option_arrives() {
    let (_, text) = cases("good.txt").into_iter().find(|(name, _)| name == "every option").unwrap();
    let config = parse(&text).unwrap();
    let policy = &config.policies["mine"];
    assert!(policy.read_only && policy.observe && !policy.holds_read_only());
    assert_eq!(policy.allow[0].place, "pgwarden.toml:39");
    assert_eq!(policy.limits.transaction_timeout.unwrap().as_secs(), 300);
    assert_eq!(policy.limits.lock_timeout.unwrap().as_millis(), 250);
    assert_eq!((policy.limits.max_result_bytes, policy.limits.max_affected_rows), (Some(16 << 20), None));
    assert_eq!(policy.deny_functions[0].pattern, "lo_*");
    let read_only = &config.policies["read-only"];
    assert_eq!((read_only.limits.statement_timeout, read_only.limits.max_result_rows), (None, Some(100_000)));
    assert_eq!(read_only.allow[0].place, "built in");
    assert_eq!(config.limits.drain_timeout.as_millis(), 0);
    assert_eq!(config.limits.sql().nesting, 100);
    assert_eq!(config.audit.directory, Path::new("/var/lib/pgwarden"));
    assert_eq!(config.audit.segment_bytes, 1 << 30);
    let expect = config.databases[0].expect.clone().unwrap();
    assert_eq!(expect.system_identifier.as_deref(), Some("7301234567890123456"));
}

#[test]
fn the_built_in_policies_are_those_of_the_example() {
    let text = std::fs::read_to_string("config/example.toml").unwrap();
    let written = parse(&text).unwrap();
    let built_in = parse("").unwrap();
    for (name, policy) in &written.policies {
        let mut policy = policy.as_ref().clone();
        policy.deny_relations.clear();
        let other = &built_in.policies[name];
        let patterns =
            |rules: &[pgwarden::policy::Rule]| rules.iter().map(|rule| rule.pattern.clone()).collect::<Vec<_>>();
        assert_eq!(patterns(&policy.allow), patterns(&other.allow), "{name}");
        assert_eq!(
            (&policy.limits, &policy.extensions, policy.read_only, policy.observe),
            (&other.limits, &other.extensions, other.read_only, other.observe),
            "{name}"
        );
    }
    assert_eq!(written.policies.len(), built_in.policies.len());
}

/// What is read from a URL, in the words of the data file.
fn shown(endpoint: &config::Endpoint) -> String {
    use config::endpoint::{ChannelBinding, RootCertificates, SslMode, SslNegotiation, TargetSessionAttrs};
    let password = endpoint.password.as_ref().map(|password| format!(":{}", password.expose())).unwrap_or_default();
    let hosts: Vec<String> = endpoint.hosts.iter().map(ToString::to_string).collect();
    let mut out = format!("{}{password}@{}/{}", endpoint.user, hosts.join(","), endpoint.database);
    let mut add = |differs: bool, text: String| {
        if differs {
            out.push(' ');
            out.push_str(&text);
        }
    };
    add(endpoint.sslmode != SslMode::Prefer, format!("sslmode={:?}", endpoint.sslmode));
    if let RootCertificates::File(file) = &endpoint.sslrootcert {
        add(true, format!("sslrootcert={}", file.display()));
    }
    if let Some(pair) = &endpoint.client_certificate {
        add(true, format!("sslcert={},{}", pair.certificate.display(), pair.key.display()));
    }
    add(endpoint.sslnegotiation != SslNegotiation::Postgres, format!("sslnegotiation={:?}", endpoint.sslnegotiation));
    add(endpoint.channel_binding != ChannelBinding::Prefer, format!("channel_binding={:?}", endpoint.channel_binding));
    let target = endpoint.target_session_attrs;
    add(target != TargetSessionAttrs::Any, format!("target_session_attrs={target:?}"));
    add(endpoint.pgbouncer, "pgbouncer".to_owned());
    add(endpoint.connection_limit.is_some(), format!("connection_limit={}", endpoint.connection_limit.unwrap_or(0)));
    add(endpoint.options.is_some(), format!("options={}", endpoint.options.as_deref().unwrap_or("")));
    add(
        endpoint.application_name.is_some(),
        format!("application_name={}", endpoint.application_name.as_deref().unwrap_or("")),
    );
    let path = endpoint.search_path_setting();
    add(path.is_some(), format!("search_path={}", path.unwrap_or_default()));
    let timeout = endpoint.connect_timeout;
    add(timeout.is_some(), format!("connect_timeout={}", timeout.unwrap_or_default().as_secs()));
    add(endpoint.is_template(), "template".to_owned());
    out
}

/// Whether a URL gives what its row says.
fn as_expected(url: &str, expected: &str) -> Result<(), String> {
    match (config::Endpoint::parse(url), expected.strip_prefix("error: ")) {
        (Ok(endpoint), None) if shown(&endpoint) == expected => Ok(()),
        (Ok(endpoint), _) => Err(format!("{url}\n  gives    {}\n  expected {expected}", shown(&endpoint))),
        (Err(errors), Some(parts)) => {
            let parts: Vec<&str> = parts.split(" | ").collect();
            let messages: Vec<String> = errors.iter().map(|error| format!("the URL {error}")).collect();
            let same = parts.len() == messages.len()
                && parts.iter().zip(&messages).all(|(part, message)| message.contains(part));
            if same { Ok(()) } else { Err(format!("{url}\n  gives    {messages:?}\n  expected {parts:?}")) }
        }
        (Err(errors), None) => Err(format!("{url}\n  gives    {errors:?}\n  expected {expected}")),
    }
}

#[test]
fn endpoint_urls() {
    let text = std::fs::read_to_string("tests/data/config/urls.txt").unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let rows = lines.windows(2).filter_map(|pair| Some((pair[0], pair[1].strip_prefix("    ")?)));
    let (count, wrong) = rows.fold((0, Vec::new()), |(count, mut wrong), (url, expected)| {
        wrong.extend(as_expected(url, expected).err());
        (count + 1, wrong)
    });
    assert!(count >= 100, "{count} rows");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_endpoint_does_not_show_its_password() {
    let endpoint = config::Endpoint::parse("postgres://u:hidden@h/d").unwrap();
    assert!(!format!("{endpoint:?}").contains("hidden"));
}

#[test]
fn files_of_a_url_begin_at_the_configuration_s_folder() {
    let text = "[databases.shop]\nenvironment = \"e\"\npooled = \"postgres://u@h/d?sslmode=verify-full&sslrootcert=ca.pem\"\n[environments.e.roles]\n";
    let config = parse(text).unwrap();
    let endpoint = config.database("shop").unwrap().endpoint(config::EndpointKind::Pooled).unwrap();
    assert_eq!(endpoint.sslrootcert, config::endpoint::RootCertificates::File("etc/ca.pem".into()));
}

#[test]
fn a_file_s_variables_come_from_dotenv_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgwarden.toml");
    std::fs::write(&file, "[log]\nlevel = \"${PGWARDEN_TEST_LEVEL_OF_DOTENV}\"\n").unwrap();
    let errors = config::load(&file).unwrap_err();
    assert!(errors.to_string().ends_with("pgwarden.toml:2: environment variable `PGWARDEN_TEST_LEVEL_OF_DOTENV` is not set: set it, or write it into `.env` beside this file"), "{errors}");
    std::fs::write(folder.path().join(".env"), "export PGWARDEN_TEST_LEVEL_OF_DOTENV='warn'\n").unwrap();
    assert_eq!(config::load(&file).unwrap().log.level, "warn");
    std::fs::write(folder.path().join(".env"), "# fine\nhidden value\n").unwrap();
    let errors = config::load(&file).unwrap_err().to_string();
    assert!(errors.ends_with(".env:2: not a line such as `NAME=value`"), "{errors}");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_without_a_line() {
    let errors = config::load(Path::new("no/such/pgwarden.toml")).unwrap_err();
    assert_eq!((errors.0.len(), errors.0[0].line), (1, None));
    assert!(errors.to_string().starts_with("no/such/pgwarden.toml: cannot be read"), "{errors}");
}

#[test]
fn a_reload_says_what_changed() {
    let before = "[databases.shop]\nenvironment = \"e\"\npooled = \"postgres://u:one@h/d\"\n[environments.e.roles]\nr = \"read-only\"\n[[users]]\nname = \"a\"\nverifier = \"${VERIFIER}\"\nroles = { e = \"r\" }\n";
    let old = parse(before).unwrap();
    assert!(config::summary_of_changes(&old, &parse(&format!("\n\n{before}")).unwrap()).is_empty());
    let after = before.replace("u:one", "u:two").replace("\"a\"", "\"b\"");
    let after = format!("[limits]\nportals = 5\n[policies.read-only]\nstatement_timeout = \"1s\"\n{after}");
    let lines = config::summary_of_changes(&old, &parse(&after).unwrap());
    assert_eq!(
        lines,
        [
            "[limits] changed",
            "database `shop` changed: pooled",
            "policy `read-only` changed: limits",
            "user `a` removed",
            "user `b` added"
        ]
    );
}

#[test]
fn the_reference_is_the_one_that_the_definitions_give() {
    let path = "docs/configuration.md";
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(path, config::reference()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        written == config::reference(),
        "docs/configuration.md is not current: UPDATE_REFERENCE=1 cargo test --test config"
    );
}

/// A value for every variable of the examples.
fn any_variable(name: &str) -> Option<String> {
    Some(if name.ends_with("VERIFIER") {
        VERIFIER.into()
    } else if name.starts_with("DATABASE_URL") {
        "postgres://app:s3cr3t@db.example/shop".into()
    } else {
        "s3cr3t".into()
    })
}

#[test]
fn every_example_loads() {
    let files = std::fs::read_dir("config").unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    assert!(examples.len() >= 3, "{examples:?}");
    for path in examples {
        let text = std::fs::read_to_string(&path).unwrap();
        config::parse(&text, &path, &any_variable).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

/// Runs the program in an empty environment.
fn pgwarden(arguments: &[&str], input: &str) -> (i32, String, String) {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgwarden"));
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_says_what_is_wrong_and_exits_with_64() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgwarden.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, "[log]\nlevel = \"info\"\n").unwrap();
    let (code, out, err) = pgwarden(&["check", "--config", path], "");
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("{path}: in order: 0 databases, 0 environments, 4 policies, 0 users\n"));

    std::fs::write(&file, "[log]\nlevl = 1\n[audit]\nwhen_unwritable = \"50%\"\n").unwrap();
    let (code, out, err) = pgwarden(&["check", "--config", path], "");
    assert_eq!((code, out.as_str()), (64, ""));
    let expected = [
        format!("{path}:2: unknown key `levl`; did you mean `level`?"),
        format!("{path}:4: `50%` is not `\"refuse\"` or `\"continue\"`"),
    ];
    assert_eq!(err.lines().collect::<Vec<_>>(), expected);

    let (code, out, _) = pgwarden(&["check", "--json", "--config", path], "");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["valid"], &json["errors"][1]["line"]), (64, &false.into(), &4.into()));
    let (code, out, _) = pgwarden(&["check", "--format", "github", "--config", path], "");
    assert_eq!(code, 64);
    assert!(out.contains(",line=4::`50%25` is not"), "{out}");
    let (_, out, _) = pgwarden(&["check", "--format", "sarif", "--config", path], "");
    let sarif: serde_json::Value = serde_json::from_str(&out).unwrap();
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["region"]["startLine"], 2);
}

#[test]
fn bad_usage_exits_with_64_and_help_with_0() {
    assert_eq!(pgwarden(&["check", "--no-such-option"], "").0, 64);
    assert_eq!(pgwarden(&["no-such-command"], "").0, 64);
    assert_eq!(pgwarden(&[], "").0, 64);
    let (code, out, _) = pgwarden(&["--help"], "");
    assert!(code == 0 && out.contains("user"), "{out}");
}

#[test]
fn the_verifier_of_a_password_proves_it() {
    let (code, out, err) = pgwarden(&["user", "verifier"], "pencil\n");
    assert_eq!((code, err.as_str()), (0, ""));
    let made = config::Verifier::parse(out.trim_end()).unwrap();
    let again = config::Verifier::of_password(&config::Secret::new("pencil"), &made.salt, made.iterations);
    assert_eq!((made.iterations, made.salt.len()), (config::DEFAULT_ITERATIONS, config::SALT_BYTES));
    assert!(made == again && made.to_text() == out.trim_end());
    let other = config::Verifier::of_password(&config::Secret::new("pencils"), &made.salt, made.iterations);
    assert!(made != other);
    let (code, out, err) = pgwarden(&["user", "verifier"], "\n");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("empty"), "{err}");
}

proptest! {
    /// Whatever a URL holds: an answer, never a panic, and no piece of the password in an error.
    #[test]
    fn no_url_is_too_odd(password in "[a-z0-9/@:?#%&=\\[\\]{},]{8,24}", rest in ".{0,40}") {
        let url = format!("postgres://user:{password}@host.example/db?{rest}");
        if let Err(errors) = config::Endpoint::parse(&url) {
            let text: String = errors.iter().map(ToString::to_string).collect();
            prop_assert!(!text.contains(&password), "{}", text);
        }
        let _ = config::Endpoint::parse(&rest);
        let _ = config::Endpoint::parse(&format!("postgres://{rest}"));
    }

    /// Whatever a file holds: a configuration or errors, never a panic.
    #[test]
    fn no_file_is_too_odd(text in "([a-z_.\\-]{1,12}|[\\[\\]{}=\"',$ \n]|\\$\\{[A-Z]{0,3}\\}|listen|databases|users|policies|[0-9]{1,20}){0,60}") {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.0.is_empty());
        }
    }
}

#[test]
fn syntax_errors_show_nothing_of_the_line() {
    for text in [
        "password = s3cr3t\n",
        "password = \"s3cr3t\n",
        "\"s3cr3t\" \"s3cr3t\"\n",
        "a = \"s3cr3t\\q\"\n",
        "a = 's3cr3t' s3cr3t\n",
    ] {
        let errors = parse(text).unwrap_err().to_string();
        assert!(!errors.contains("s3cr3t") && errors.contains(":1: not valid TOML"), "{errors}");
    }
}

#[test]
fn nesting_without_end_is_an_error() {
    for text in ["[".repeat(200_000), format!("a = {}", "[".repeat(200_000)), format!("a = {}", "{a=".repeat(200_000))]
    {
        assert!(parse(&text).is_err());
    }
}
